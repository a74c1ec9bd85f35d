"""Reelay: a dense-time monitor, updated row by row; Python sums the time its verdicts hold.

Making a monitor takes it longer than thousands of updates, so one monitor serves all keys, one after the
other in its time; a pulse before each key's rows says that what was before does not count.
"""

from __future__ import annotations

from typing import Any

from .job import Collect, Job, Run, main, number_of
from .signals import FAR, LASTING, MOVED, PULSES, SEEK, SPENT, by_key

PATTERNS = {
    "cirr": "{buffer: true} && (!{begin: true} since {played: true}) && {cdn1: true} "
    f"&& !(once[0:{SEEK}]{{sought: true}})",
    "playtime": "{play: true}",
    "outlier": f"once[0:{FAR}]{{far: true}} "
    f"|| (once[0:{MOVED}]{{moved: true}} && once[0:{SPENT}]{{spent: true}})",
}
_APART = 700_000_000  # longer than any window


def prepare(job: Job) -> tuple[Run, Collect]:
    import reelay

    zero, keys = by_key(job)
    update = reelay.dense_timed_monitor(pattern=PATTERNS[job.metric]).update
    down = dict.fromkeys((*LASTING[job.metric], *PULSES[job.metric]), False)
    length = job.horizon - zero
    fed: list[tuple[str, list[dict[str, Any]], int]] = []
    for number, (key, rows) in enumerate(keys):
        shift = 10 + number * (length + _APART)
        given: list[dict[str, Any]] = [{**down, "begin": True, "time": shift}]
        given += [{**row, "begin": False, "time": shift + at} for at, row in rows]
        given.append({**down, "time": shift + length})
        fed.append((key, given, shift + length))

    def run() -> list[tuple[str, int]]:
        found = []
        holds, since = False, 0.0
        for key, given, end in fed:
            duration = 0.0
            for row in given:
                for verdict in update(row):
                    at = verdict["time"]
                    if holds:
                        duration += min(at, end) - since
                    holds, since = verdict["value"], at
            if holds:
                # The verdict from here on is of the time between two keys.
                duration += end - since
                since = float(end)
                holds = False
            found.append((key, int(duration)))
        return found

    return run, lambda rows: ((number_of(key), value) for key, value in rows)


if __name__ == "__main__":
    main(prepare)
