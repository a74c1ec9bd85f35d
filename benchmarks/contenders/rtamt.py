"""RTAMT: its dense-time monitor evaluated over each key's whole signals, which it does faster than updates.

A robustness above 0 is a verdict that holds; Python sums the time.
"""

from __future__ import annotations

from typing import Any

from .job import Collect, Job, Run, main, number_of
from .signals import FAR, LASTING, MOVED, PULSES, SEEK, SPENT, by_key

FORMULAS = {
    "cirr": f"((buffer > 0.5) and (once (played > 0.5))) and "
    f"((cdn1 > 0.5) and (not (once[0:{SEEK}] (sought > 0.5))))",
    "playtime": "play > 0.5",
    "outlier": f"(once[0:{FAR}] (far > 0.5)) or "
    f"((once[0:{MOVED}] (moved > 0.5)) and (once[0:{SPENT}] (spent > 0.5)))",
}


def prepare(job: Job) -> tuple[Run, Collect]:
    import rtamt

    zero, keys = by_key(job)
    names = (*LASTING[job.metric], *PULSES[job.metric])
    end = job.horizon - zero
    specification = rtamt.StlDenseTimeSpecification()
    for name in names:
        specification.declare_var(name, "float")
    specification.spec = FORMULAS[job.metric]
    specification.parse()
    fed: list[tuple[str, list[Any]]] = []
    for key, rows in keys:
        signals: dict[str, list[tuple[int, float]]] = {name: [] for name in names}
        for at, row in rows:
            for name, value in row.items():
                signals[name].append((at, float(value)))
        for points in signals.values():
            points.append((end, points[-1][1]))
        fed.append((key, [[name, points] for name, points in signals.items()]))

    def run() -> list[tuple[str, int]]:
        found = []
        for key, signals in fed:
            verdicts = specification.evaluate(*signals)
            duration, since, holds = 0.0, 0.0, False
            for at, robustness in verdicts:
                if holds:
                    duration += min(at, end) - since
                holds, since = robustness > 0, at
            if holds and since < end:
                duration += end - since
            found.append((key, int(duration)))
        return found

    return run, lambda rows: ((number_of(key), value) for key, value in rows)


if __name__ == "__main__":
    main(prepare)
