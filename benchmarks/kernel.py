"""CIRR over generated playback sessions: our engine, Bytewax, and a plain Python loop, in turns.

The metric is connection-induced rebuffering on one CDN, ``CIRR`` below. Each contender runs in a process of
its own, over the same events held in memory in the form it takes best (columns, or Python tuples), built
before the clock starts; the process reports its time and every session's duration at the end, and all must
agree to the microsecond. The engine computes whole timelines and takes late events; the other two are
written for events that come in order and keep the last value only.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from .report import Result, show

SECOND = 1_000_000
SEEK_WINDOW = 5 * SECOND
START = 1_672_531_200 * SECOND
HORIZON = 60 * SECOND  # the answers are taken this long after the last event
COLUMNS = ("playerStateChange", "userAction", "cdn")
VALUES = (
    ("init", "play", "buffer", "pause"),
    ("seek", "pause", "resume"),
    ("CDN1", "CDN2"),
)
CIRR = (
    'duration_where(latest_event_to_state(playerStateChange) == "buffer"'
    ' && has_existed(playerStateChange == "play") && !has_existed_within(userAction == "seek", 5s)'
    ' && latest_event_to_state(cdn) == "CDN1")'
)


@dataclass(frozen=True)
class Load:
    """How many events of how many sessions, and the seed they come from."""

    events: int
    keys: int
    seed: int


@dataclass(frozen=True)
class Events:
    """N events in order of time. Each says one thing: ``VALUES[column][value]`` in ``COLUMNS[column]``."""

    key: NDArray[np.int32]
    time: NDArray[np.int64]
    column: NDArray[np.int8]
    value: NDArray[np.int8]

    @property
    def horizon(self) -> int:
        """The instant of the answers."""
        return int(self.time[-1]) + HORIZON


class Outcome(msgspec.Struct):
    """What a contender's process reports: seconds, processor seconds, and each session's microseconds."""

    seconds: float
    cpu_seconds: float
    durations: dict[str, int]


def generate(load: Load) -> Events:
    """Sessions spread over ten minutes, each event 60 % player state, 25 % viewer, 15 % CDN."""
    random = np.random.default_rng(load.seed)
    n = load.events
    key = np.concatenate(
        [
            np.arange(min(load.keys, n), dtype=np.int32),
            random.integers(0, load.keys, max(0, n - load.keys), dtype=np.int32),
        ]
    )
    time = START + random.integers(0, 600 * SECOND, n)
    column = np.searchsorted(np.array([0.60, 0.85]), random.random(n), side="right").astype(np.int8)
    sizes = np.array([len(values) for values in VALUES])
    value = (random.random(n) * sizes[column]).astype(np.int8)
    order = np.argsort(time, kind="stable")
    return Events(key[order], time[order], column[order], value[order])


CONTENDERS = {
    "engine": "one batch of all events",
    "engine-cuts": "the same in batches of 10,000",
    "bytewax": "stateful_batch, one logic per session; its source gives one batch",
    "bytewax-cuts": "the same, its source gives batches of 10,000",
    "python": "a loop over tuples and a dict of sessions",
}


def run(load: Load, *, runs: int, only: list[str] | None, json_file: Path | None) -> None:
    """Measure each contender ``runs`` times, in turns.

    Raises AssertionError when two differ in any session's duration.
    """
    names = only or list(CONTENDERS)
    console = Console(stderr=True)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    cpu_seconds: dict[str, list[float]] = {name: [] for name in names}
    expected: tuple[str, dict[str, int]] | None = None
    for turn in range(runs):
        for name in names:
            outcome = _in_process(name, load)
            seconds[name].append(outcome.seconds)
            cpu_seconds[name].append(outcome.cpu_seconds)
            console.print(f"run {turn + 1} of {runs}: {name} {outcome.seconds:.3f} s", highlight=False)
            if expected is None:
                expected = name, outcome.durations
            elif outcome.durations != expected[1]:
                differ = [k for k, v in expected[1].items() if outcome.durations.get(k) != v]
                raise AssertionError(
                    f"{name} and {expected[0]} differ in {len(differ)} sessions: {differ[:5]}"
                )
    show(
        "CIRR over playback sessions",
        [Result(name, load.events, seconds[name], cpu_seconds[name]) for name in names],
        baseline="bytewax" if "bytewax" in names else names[0],
        unit="events",
        parameters={"events": load.events, "keys": load.keys, "runs": runs, "seed": load.seed},
        packages=["numpy", "bytewax"],
        json_file=json_file,
    )
    if expected is not None:
        total = sum(expected[1].values()) / SECOND
        console.print(
            f"all agree on {len(expected[1]):,} sessions, {total:,.0f} s of rebuffering in all",
            highlight=False,
        )


def _in_process(name: str, load: Load) -> Outcome:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "outcome"
        arguments = [name, str(load.events), str(load.keys), str(load.seed), str(file)]
        subprocess.run([sys.executable, "-m", "benchmarks.contenders", *arguments], check=True)
        return msgspec.msgpack.decode(file.read_bytes(), type=Outcome)
