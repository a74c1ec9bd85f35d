"""This checkout against another one: one benchmark in each, in turns, and the ratio pair by pair.

What disturbs the machine for a while disturbs both of a pair, and who runs first alternates. The interval of
the median needs no assumption about how the ratios are spread: between two of them in order, the median of
what could have been measured lies with a probability that is a sum of binomial coefficients (Conover,
"Practical Nonparametric Statistics", 3rd ed., 3.2).

A machine that is shared can give one run half the speed of the next, by processor time, too. ``together``
runs both of a pair at once, each on a core of its own, so that whatever the machine does is done to both.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from math import comb
from pathlib import Path
from statistics import median
from typing import Any

from timeline_workers.errors import TimelineError

ROOT = Path(__file__).resolve().parent.parent
CONFIDENCE = 0.95
RUN_SECONDS = 900


class PairError(TimelineError):
    """A run in one of the two checkouts failed."""


@dataclass(frozen=True, slots=True)
class Speed:
    """Events a second of one run: by the clock (None: not taken), and by the processor time of all processes,
    which a busy machine disturbs less.
    """

    clock: float | None
    processor: float


@dataclass(frozen=True, slots=True)
class Pairs:
    """Events a second in this checkout and in the other one, pair by pair."""

    ours: tuple[float, ...]
    theirs: tuple[float, ...]

    @property
    def ratios(self) -> list[float]:
        """Our speed as a multiple of theirs, in order."""
        return sorted(a / b for a, b in zip(self.ours, self.theirs, strict=True))

    def text(self) -> str:
        """The result in one line."""
        ratios = self.ratios
        bounds = interval(ratios)
        said = (
            f"{bounds[0]:.3f} to {bounds[1]:.3f} holds its median with {CONFIDENCE:.0%}"
            if bounds
            else f"too few for an interval of {CONFIDENCE:.0%}"
        )
        return (
            f"{len(ratios)} pairs: {median(ratios):.3f} of the other's speed, median "
            f"(least {ratios[0]:.3f}, greatest {ratios[-1]:.3f}; {said})"
        )


def interval(ordered: Sequence[float], confidence: float = CONFIDENCE) -> tuple[float, float] | None:
    """The narrowest symmetric pair that holds the median with ``confidence``; None: too few."""
    n = len(ordered)
    outside = 0.0
    best = None
    for low in range(n // 2):
        outside += 2 * comb(n, low) / 2**n
        if 1 - outside < confidence:
            break
        best = (ordered[low], ordered[n - 1 - low])
    return best


def run(
    other: Path,
    pairs: int,
    speed: Callable[[Path], Speed],
    tell: Callable[[str], object],
    *,
    together: bool = False,
) -> dict[str, Pairs]:
    """Measure ``pairs`` pairs: those by the clock, if that was taken, and those by processor time. The other
    checkout is first in every second one, or with ``together`` both run at once, on cores that change hands.
    Raises PairError.

    ``speed``: of a checkout, measured now: ``durable`` or ``kernel``; with ``together`` it must pickle.
    """
    ours: list[Speed] = []
    theirs: list[Speed] = []
    for pair in range(pairs):
        first, second = ((ROOT, ours), (other, theirs)) if pair % 2 else ((other, theirs), (ROOT, ours))
        checkouts = (first[0], second[0])
        measured: Iterable[Speed] = at_once(speed, *checkouts) if together else map(speed, checkouts)
        for (_, speeds), one in zip((first, second), measured, strict=True):
            speeds.append(one)
        here, there = (one.processor if one.clock is None else one.clock for one in (ours[-1], theirs[-1]))
        share = ours[-1].processor / theirs[-1].processor
        tell(
            f"pair {pair + 1} of {pairs}: {here:,.0f}/s here, {there:,.0f}/s there; "
            f"by processor time {share:.3f}"
        )
    result = {}
    clocks = [(a.clock, b.clock) for a, b in zip(ours, theirs, strict=True) if a.clock and b.clock]
    if clocks:
        result["by the clock"] = Pairs(*zip(*clocks, strict=True))
    result["by processor time"] = Pairs(tuple(a.processor for a in ours), tuple(b.processor for b in theirs))
    return result


def at_once(speed: Callable[[Path], Speed], *checkouts: Path) -> list[Speed]:
    """The speed of each checkout, all measured at the same time, each on a core of its own. Raises PairError
    where there are fewer cores.
    """
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if len(cores) < len(checkouts):
        raise PairError(
            f"--together needs {len(checkouts)} cores that a process can be bound to; there are {len(cores)}"
        )
    # Processes of their own: what a process is bound to its children inherit.
    with ProcessPoolExecutor(len(checkouts), max_tasks_per_child=1) as pool:
        pairs = zip(cores, checkouts, strict=False)
        return [one.result() for one in [pool.submit(_bound, speed, *pair) for pair in pairs]]


def _bound(speed: Callable[[Path], Speed], core: int, checkout: Path) -> Speed:
    os.sched_setaffinity(0, {core})
    return speed(checkout)


def durable(checkout: Path, events: int, options: Sequence[str]) -> Speed:
    """Of the durable path; its processor time is that of the servers, too."""
    command = ["durable", "--only", "durable", "--runs", "1", "--events", str(events), *options]
    [result] = _results(checkout, command)
    return Speed(float(result["items_per_second"]), events / float(result["cpu_seconds"][0]))


def kernel(checkout: Path, events: int) -> Speed:
    """Of evaluation in process, by processor time: its three metrics, all events at once and in batches. What
    makes the events, and the start of a process, do not count.
    """
    command = ["kernel", "--form", "columns", "--only", "engine", "--only", "engine-cuts", "--runs", "1"]
    results = _results(checkout, [*command, "--events", str(events)])
    return Speed(None, events * len(results) / sum(float(result["cpu_seconds"][0]) for result in results))


def _results(checkout: Path, command: Sequence[str]) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        _run(checkout, [*command, "--json", str(report)])
        comparisons = json.loads(report.read_text())["comparisons"]
        return [result for comparison in comparisons for result in comparison["results"]]


def _run(checkout: Path, arguments: Sequence[str]) -> None:
    own = checkout / ".venv" / "bin" / "python"
    command = [str(own) if own.exists() else sys.executable, "-m", "benchmarks", *arguments]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, timeout=RUN_SECONDS)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()[-3:]
        raise PairError(f"the benchmark in {checkout} ended with {done.returncode}: {' | '.join(lines)}")
