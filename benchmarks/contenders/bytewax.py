"""Bytewax: one stateful logic per key on one worker; it emits each duration at the end.

``cut``: the batch size of its source, 0 for one batch of everything. From JSON lines a step before decodes.
"""

from __future__ import annotations

from typing import Any

from .byhand import SESSIONS
from .job import Collect, Job, Run, main, number_of
from .python import parse, tuples


def prepare(job: Job) -> tuple[Run, Collect]:
    import bytewax.operators as op
    from bytewax.dataflow import Dataflow
    from bytewax.operators import StatefulBatchLogic
    from bytewax.testing import TestingSink, TestingSource, run_main

    make, horizon = SESSIONS[job.metric], job.horizon

    class Logic(StatefulBatchLogic[Any, Any, Any]):
        def __init__(self, resumed: Any) -> None:
            self.session = resumed or make()

        def on_batch(self, values: list[Any]) -> tuple[list[int], bool]:
            hear = self.session.hear
            for now, event in values:
                hear(now, event)
            return [], StatefulBatchLogic.RETAIN

        def on_eof(self) -> tuple[list[int], bool]:
            self.session.advance(horizon)
            return [self.session.duration], StatefulBatchLogic.DISCARD

        def snapshot(self) -> Any:
            return self.session

    def keyed(line: bytes) -> tuple[str, tuple[int, tuple[Any, ...]]]:
        key, now, event = parse(line, make.columns)
        return key, (now, event)

    decodes = job.options["form"] == "jsonl"
    items: list[Any] = job.lines() if decodes else [(k, (t, e)) for k, t, e in tuples(job)]
    found: list[tuple[str, int]] = []
    flow = Dataflow("metric")
    stream: Any = op.input("events", flow, TestingSource(items, batch_size=job.options["cut"] or len(items)))
    if decodes:
        stream = op.map("decode", stream, keyed)
    op.output("durations", op.stateful_batch("metric", stream, Logic), TestingSink(found))

    def run() -> list[tuple[str, int]]:
        run_main(flow)  # type: ignore[no-untyped-call]
        return found

    return run, lambda rows: ((number_of(key), value) for key, value in rows)


if __name__ == "__main__":
    main(prepare)
