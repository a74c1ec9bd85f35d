"""One contender of the kernel benchmark: ``python -m benchmarks.contenders NAME EVENTS KEYS SEED FILE``."""

from __future__ import annotations

import gc
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from timeline_workers.algebra.values import Linear, StringTable, Tagged
from timeline_workers.events.batch import EventBatch, Positions
from timeline_workers.language import tree

from .kernel import COLUMNS, SEEK_WINDOW, VALUES, Events, Load, Outcome, generate

CUT = 10_000


class Clock:
    """Seconds that passed, and seconds of processor time of all threads, since it was made."""

    def __init__(self) -> None:
        self.seconds, self.cpu_seconds = time.perf_counter(), time.process_time()

    def stop(self) -> None:
        self.seconds = time.perf_counter() - self.seconds
        self.cpu_seconds = time.process_time() - self.cpu_seconds


def cirr() -> tree.DurationWhere:
    """The tree of ``kernel.CIRR``."""

    def says(column: str, value: str) -> tree.Compare:
        return tree.Compare(operator="==", left=tree.Column(name=column), right=tree.Literal(value=value))

    def state(column: str, value: str) -> tree.Compare:
        return tree.Compare(
            operator="==", left=tree.LatestEventToState(column=column), right=tree.Literal(value=value)
        )

    buffering = state("playerStateChange", "buffer")
    played = tree.HasExisted(of=says("playerStateChange", "play"))
    sought = tree.HasExistedWithin(of=says("userAction", "seek"), within=SEEK_WINDOW)
    connected = tree.And(left=tree.And(left=buffering, right=played), right=tree.Not(of=sought))
    return tree.DurationWhere(of=tree.And(left=connected, right=state("cdn", "CDN1")))


def batch_of(events: Events, rows: slice) -> EventBatch:
    """The rows as a decoder hands them over: keys and strings by number, one column each."""
    key, times, column, value = events.key[rows], events.time[rows], events.column[rows], events.value[rows]
    numbers, own = np.unique(key, return_inverse=True)
    columns = {}
    for code, name in enumerate(COLUMNS):
        has = column == code
        table = StringTable()
        codes = table.intern_all(VALUES[code])
        bits = np.where(has, codes[np.where(has, value, 0)], 0)
        columns[name] = Tagged(np.where(has, 4, 0).astype(np.uint8), bits, table)
    places = np.arange(rows.start, rows.start + len(key), dtype=np.int64)
    positions = Positions(np.zeros(len(key), np.int32), np.zeros(len(key), np.int64), places)
    names: list[str | int] = [f"session-{n}" for n in numbers.tolist()]
    return EventBatch(names, own.astype(np.int32), times, positions, columns)


def run_engine(events: Events, cut: int) -> Outcome:
    """Columns in, every session's timeline out; batches of ``cut`` events."""
    from timeline_workers.algebra.engine import Evaluation

    batches = [batch_of(events, slice(i, i + cut)) for i in range(0, len(events.time), cut)]
    gc.collect()
    clock = Clock()
    evaluation = Evaluation(cirr())
    for batch in batches:
        evaluation.add(batch)
    timeline = evaluation.timeline()
    clock.stop()
    assert isinstance(timeline.values, Linear)
    last = timeline.offsets[1:] - 1
    num, slope = timeline.values.num[last], timeline.values.slope[last]
    final = num + slope * (events.horizon - timeline.starts[last])
    return Outcome(
        clock.seconds,
        clock.cpu_seconds,
        {str(k): int(v) for k, v in zip(evaluation.keys.names, final, strict=True)},
    )


class Session:
    """The metric by hand, for events in order: what must be known of a session, and its duration so far."""

    __slots__ = ("buffering", "duration", "on_cdn", "played", "seek_until", "since")

    def __init__(self) -> None:
        self.since = 0
        self.duration = 0
        self.buffering = False
        self.played = False
        self.on_cdn = False
        self.seek_until = 0

    def advance(self, now: int) -> None:
        """Count the time up to ``now``, of which none falls within the window of a seek."""
        if self.buffering and self.played and self.on_cdn:
            start = self.since if self.since > self.seek_until else self.seek_until
            if now > start:
                self.duration += now - start
        self.since = now

    def hear(self, now: int, column: str, value: str) -> None:
        """Take one event."""
        self.advance(now)
        if column == "playerStateChange":
            self.buffering = value == "buffer"
            if value == "play":
                self.played = True
        elif column == "userAction":
            if value == "seek":
                self.seek_until = now + SEEK_WINDOW
        else:
            self.on_cdn = value == "CDN1"


def _tuples(events: Events) -> list[tuple[str, tuple[int, str, str]]]:
    names = [f"session-{n}" for n in range(int(events.key.max()) + 1)]
    rows = zip(
        events.key.tolist(), events.time.tolist(), events.column.tolist(), events.value.tolist(), strict=True
    )
    return [(names[key], (now, COLUMNS[column], VALUES[column][value])) for key, now, column, value in rows]


def run_python(events: Events) -> Outcome:
    """A dict of sessions."""
    items = _tuples(events)
    gc.collect()
    clock = Clock()
    sessions: dict[str, Session] = {}
    for key, (now, column, value) in items:
        session = sessions.get(key)
        if session is None:
            session = sessions[key] = Session()
        session.hear(now, column, value)
    for session in sessions.values():
        session.advance(events.horizon)
    clock.stop()
    return Outcome(
        clock.seconds, clock.cpu_seconds, {key: session.duration for key, session in sessions.items()}
    )


def run_bytewax(events: Events, cut: int) -> Outcome:
    """A dataflow with one stateful logic per session, on one worker, that emits each duration at the end.

    ``cut`` is the batch size of its source.
    """
    import bytewax.operators as op
    from bytewax.dataflow import Dataflow
    from bytewax.operators import StatefulBatchLogic
    from bytewax.testing import TestingSink, TestingSource, run_main

    horizon = events.horizon

    class Cirr(StatefulBatchLogic[tuple[int, str, str], int, Session]):
        def __init__(self, resumed: Session | None) -> None:
            self.session = resumed or Session()

        def on_batch(self, values: list[tuple[int, str, str]]) -> tuple[list[int], bool]:
            hear = self.session.hear
            for now, column, value in values:
                hear(now, column, value)
            return [], StatefulBatchLogic.RETAIN

        def on_eof(self) -> tuple[list[int], bool]:
            self.session.advance(horizon)
            return [self.session.duration], StatefulBatchLogic.DISCARD

        def snapshot(self) -> Session:
            return self.session

    items = _tuples(events)
    found: list[tuple[str, int]] = []
    flow = Dataflow("cirr")
    stream = op.input("events", flow, TestingSource(items, batch_size=cut))
    op.output("durations", op.stateful_batch("cirr", stream, Cirr), TestingSink(found))
    gc.collect()
    clock = Clock()
    run_main(flow)  # type: ignore[no-untyped-call]
    clock.stop()
    return Outcome(clock.seconds, clock.cpu_seconds, dict(found))


def main(arguments: list[str]) -> None:
    """Run one contender after a short rehearsal and leave its outcome in the file."""
    name, count, keys, seed, file = arguments
    load = Load(int(count), int(keys), int(seed))
    contenders: dict[str, Any] = {
        "engine": lambda events: run_engine(events, len(events.time)),
        "engine-cuts": lambda events: run_engine(events, CUT),
        "bytewax": lambda events: run_bytewax(events, len(events.time)),
        "bytewax-cuts": lambda events: run_bytewax(events, CUT),
        "python": run_python,
    }
    contender = contenders[name]
    # Imports, allocators and caches: none of the contenders pays for its first call.
    contender(generate(Load(min(load.events, 20_000), min(load.keys, 200), load.seed + 1)))
    Path(file).write_bytes(msgspec.msgpack.encode(contender(generate(load))))


if __name__ == "__main__":
    main(sys.argv[1:])
