"""Workloads: the metrics of the benchmarks and their generated data.

A metric's answer is a duration per key, as the engine's expression says it, at one instant: the *horizon*, a
minute after the last event. Data are columns of one file each, beside a ``meta.json`` and, where asked for,
the same events as JSON lines; every contender reads these, whatever environment it runs in
(``contenders/job.py``).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .contenders.job import Job, names

SECOND = 1_000_000
START = 1_672_531_200 * SECOND
MILLISECOND = 1_000
SPREAD = 600 * SECOND  # the events' times
HORIZON = 60 * SECOND
SEEK_WINDOW = 5 * SECOND
FAR_WINDOW, MOVED_WINDOW, MOVED_FOR, SPENT_WINDOW = 600 * SECOND, 60 * SECOND, 10 * SECOND, 60 * SECOND
_WRITE = 100_000  # JSON lines at a time


@dataclass(frozen=True, slots=True)
class Column:
    """A column of events. ``data``: codes into ``values`` (-1 is missing), or floats where that is empty."""

    data: NDArray[np.int8] | NDArray[np.float64]
    values: tuple[str, ...] = ()


Make = Callable[[np.random.Generator, int], dict[str, Column]]


@dataclass(frozen=True, slots=True)
class Metric:
    """``make(random, n)`` gives the columns of ``n`` events."""

    name: str
    expression: str
    make: Make


def _one_of(random: np.random.Generator, count: int, **columns: tuple[float, tuple[str, ...]]) -> Any:
    """Columns of which each event has one, with the chance given for it."""
    bounds = np.cumsum([chance for chance, _ in columns.values()])
    which = np.searchsorted(bounds[:-1], random.random(count), side="right")
    made = {}
    for number, (name, (_, values)) in enumerate(columns.items()):
        codes = (random.random(count) * len(values)).astype(np.int8)
        made[name] = Column(np.where(which == number, codes, np.int8(-1)).astype(np.int8), values)
    return made


def _playback(random: np.random.Generator, count: int) -> dict[str, Column]:
    states = ("init", "play", "buffer", "pause")
    actions, cdns = ("seek", "pause", "resume"), ("CDN1", "CDN2")
    made: dict[str, Column] = _one_of(
        random, count, playerStateChange=(0.60, states), userAction=(0.25, actions), cdn=(0.15, cdns)
    )
    return made


def _player(random: np.random.Generator, count: int) -> dict[str, Column]:
    states, actions = ("init", "play", "buffer", "pause"), ("seek", "pause", "resume")
    made: dict[str, Column] = _one_of(
        random, count, playerStateChange=(0.70, states), userAction=(0.30, actions)
    )
    return made


def _states(random: np.random.Generator, count: int) -> dict[str, Column]:
    """Every event is a change of the player's state; in one of eight the viewer has just seeked."""
    states = ("init", "play", "buffer", "pause")
    sought = np.where(random.random(count) < 0.125, 0, -1).astype(np.int8)
    return {
        "playerStateChange": Column((random.random(count) * len(states)).astype(np.int8), states),
        "userAction": Column(sought, ("seek",)),
    }


def _cards(random: np.random.Generator, count: int) -> dict[str, Column]:
    places = tuple(f"{10 + i}.5,{i}.25" for i in range(40))
    far = random.random(count) < 0.002
    return {
        "amount": Column(np.round(random.gamma(2.0, 200.0, count) + 1, 2)),
        "km": Column(np.where(far, 5_000.0, np.round(random.random(count) * 90))),
        "hours": Column(np.round(0.1 + random.random(count), 4)),
        "lat_long": Column((random.random(count) ** 3 * len(places)).astype(np.int8), places),
    }


METRICS = {
    metric.name: metric
    for metric in (
        Metric(
            "cirr",
            'duration_where(latest_event_to_state(playerStateChange) == "buffer"'
            ' && has_existed(playerStateChange == "play") && !has_existed_within(userAction == "seek", 5s)'
            ' && latest_event_to_state(cdn) == "CDN1")',
            _playback,
        ),
        Metric(
            "stalls",
            'duration_where(latest_event_to_state(playerStateChange) == "buffer"'
            ' && has_existed(playerStateChange == "play") && !has_existed_within(userAction == "seek", 5s))',
            _player,
        ),
        Metric("playtime", 'duration_where(latest_event_to_state(playerStateChange) == "play")', _playback),
        Metric(
            "outlier",
            "duration_where(has_existed_within(km > 900 * hours, 10m)"
            " || has_existed_within(duration_in_cur_state(latest_event_to_state(lat_long)) < 10, 60s)"
            " && has_existed_within(amount > 1000, 60s))",
            _cards,
        ),
        Metric(
            "rebuffering",
            'duration_where(latest_event_to_state(playerStateChange) == "buffer"'
            ' && has_existed(playerStateChange == "play") && !has_existed_within(userAction == "seek", 5s))',
            _states,
        ),
        Metric("play", 'duration_where(latest_event_to_state(playerStateChange) == "play")', _states),
    )
}


@dataclass(frozen=True, slots=True)
class Data:
    """N events in order of time, no two at one instant, nor, unless keys are few, two of a key within a
    millisecond. ``key``: int32[N]; ``time``: int64[N]."""

    metric: Metric
    keys: int
    key: NDArray[np.int32]
    time: NDArray[np.int64]
    columns: dict[str, Column]

    @property
    def horizon(self) -> int:
        """The instant of the answers, in microseconds."""
        return int(self.time[-1]) + HORIZON

    def write(self, folder: Path, *, lines: bool) -> None:
        """Write the columns and ``meta.json``, and ``events.jsonl`` with ``lines``."""
        folder.mkdir(parents=True, exist_ok=True)
        self.key.tofile(folder / "key.bin")
        self.time.tofile(folder / "time.bin")
        for name, column in self.columns.items():
            column.data.tofile(folder / f"{name}.bin")
        meta = {
            "metric": self.metric.name,
            "expression": self.metric.expression,
            "events": len(self.time),
            "keys": self.keys,
            "horizon": self.horizon,
            "columns": {name: column.values for name, column in self.columns.items()},
        }
        (folder / "meta.json").write_text(json.dumps(meta))
        if lines:
            with (folder / "events.jsonl").open("wb") as out:
                for first in range(0, len(self.time), _WRITE):
                    out.writelines(self.lines(slice(first, first + _WRITE)))

    def lines(self, rows: slice) -> list[bytes]:
        """The events of ``rows`` as JSON lines; a column that is missing is left out."""
        texts = [b""] * len(self.time[rows])
        for name, column in self.columns.items():
            part = column.data[rows].tolist()
            if column.values:
                said = [f',"{name}":"{value}"'.encode() for value in column.values]
                said.append(b"")  # -1 is missing
                texts = [text + said[code] for text, code in zip(texts, part, strict=True)]
            else:
                texts = [
                    text + f',"{name}":{value!r}'.encode() for text, value in zip(texts, part, strict=True)
                ]
        heads = zip(self.key[rows].tolist(), self.time[rows].tolist(), texts, strict=True)
        known = [name.encode() for name in names(self.keys)]
        return [b'{"key":"%b","time":%d%b}\n' % (known[key], time, text) for key, time, text in heads]


def generate(metric: Metric, events: int, keys: int, seed: int) -> Data:
    """``events`` events of ``keys`` keys over ten minutes; every key has one while there are enough."""
    random = np.random.default_rng(seed)
    first = np.arange(min(keys, events), dtype=np.int32)
    rest = random.integers(0, keys, events - len(first), dtype=np.int32)
    key = random.permutation(np.concatenate([first, rest]))
    time = START + np.sort(random.integers(0, SPREAD, events))
    # Instants of their own: a tie would be a question of position, which not every peer knows.
    rank = np.arange(events)
    time = np.maximum.accumulate(time - rank) + rank
    if events <= keys * (SPREAD // MILLISECOND) // 10:
        _part(random, key, time // MILLISECOND)
    return Data(metric, keys, key.astype(np.int32), time, metric.make(random, events))


def _part(random: np.random.Generator, key: NDArray[np.int32], time: NDArray[np.int64]) -> None:
    """Let events of one key at one ``time`` change keys with others, until there are none.

    Flink SQL orders events by the millisecond.
    """
    while True:
        order = np.lexsort((time, key))
        tied = (np.diff(key[order]) == 0) & (np.diff(time[order]) == 0)
        if not tied.any():
            return
        for row in order[1:][tied].tolist():
            other = int(random.integers(len(key)))
            key[row], key[other] = key[other], key[row]


class Shares:
    """The data of a benchmark in ``folder``, and smaller data for contenders that are given a share: as many
    events of a key, of fewer keys.
    """

    def __init__(self, folder: Path, metric: str, events: int, keys: int, seed: int, *, lines: bool) -> None:
        self._folder, self._metric, self._lines, self._seed = folder, METRICS[metric], lines, seed
        self.events, self.keys = events, keys

    def keys_of(self, events: int) -> int:
        """How many keys a share of ``events`` events has."""
        return max(1, round(self.keys * events / self.events))

    def of(self, events: int) -> Path:
        """The folder of ``events`` events, made when it is first asked for."""
        found = self._folder / str(events)
        if not found.exists():
            made = generate(self._metric, events, self.keys_of(events), self._seed)
            made.write(found, lines=self._lines)
        return found


def arrow(job: Job) -> Any:
    """The events of a job as an Arrow table, strings dictionary-coded."""
    import pyarrow as pa

    table = {
        "key": pa.DictionaryArray.from_arrays(pa.array(np.asarray(job.key)), pa.array(names(job.keys))),
        "time": pa.array(np.asarray(job.time)),
    }
    for name, values in job.values.items():
        data = np.asarray(job.column(name))
        if values:
            codes = pa.array(data.astype(np.int32), mask=data < 0)
            table[name] = pa.DictionaryArray.from_arrays(codes, pa.array(values))
        else:
            table[name] = pa.array(data)
    return pa.table(table)


def expected(folder: Path, events: int) -> NDArray[np.int64]:
    """What ``evaluate`` answers over the first ``events`` events in ``folder``: microseconds per key at the
    horizon, -1 for a key without an event among them.
    """
    from timeline_workers import evaluate

    job = Job(folder, events, {})
    result = evaluate(job.expression, arrow(job), key="key", time="time", time_unit="us")
    return last_values(result, job.keys, job.horizon)


def last_values(result: Any, keys: int, horizon: int) -> NDArray[np.int64]:
    """The values at ``horizon`` of every key of an evaluation of durations, in microseconds."""
    import pyarrow as pa
    import pyarrow.compute as pc

    table = result.to_arrow()
    begins, ends = (table[name].cast(pa.int64()) for name in ("start", "end"))
    # A window's end may lie beyond the horizon, and with it the last piece.
    held = pc.and_(pc.less_equal(begins, horizon), pc.fill_null(pc.greater(ends, horizon), True))
    table = table.filter(held)
    number = pc.utf8_slice_codeunits(table["key"].cast(pa.string()), len("session-")).cast(pa.int64())
    # A duration in seconds is a float only where it is not whole: both are exact to the microsecond here.
    value = np.rint(table["value"].cast(pa.float64()).to_numpy() * SECOND).astype(np.int64)
    start = table["start"].cast(pa.int64()).to_numpy()
    answers = np.full(keys, -1, np.int64)
    answers[number.to_numpy()] = value + table["slope"].cast(pa.int64()).to_numpy() * (horizon - start)
    return answers
