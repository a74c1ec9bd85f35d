"""Our engine, in process. ``form`` and ``cut``:

``columns``  decoded batches (keys and strings by number, as a decoder hands them over) of ``cut`` events, 0:
             one; its time covers every key's whole timeline.
``arrow``    the public ``evaluate`` over an Arrow table with dictionary-coded strings: validation included.
``jsonl``    the public ``evaluate`` over JSON lines: decoding and validation included.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from benchmarks import workloads
from timeline_workers import evaluate
from timeline_workers.algebra.graph_evaluation import Evaluation
from timeline_workers.columns.event_batch import EventBatch, Positions
from timeline_workers.columns.values import FLOAT, STRING, Linear, StringTable, Tagged
from timeline_workers.language.canonical import canonical
from timeline_workers.language.check import check
from timeline_workers.language.parser import parse

from .job import Collect, Job, Run, main, names, number_of


def prepare(job: Job) -> tuple[Run, Collect]:
    form = job.options["form"]
    if form == "columns":
        return _columns(job, job.options["cut"] or job.events)
    events = job.lines() if form == "jsonl" else workloads.arrow(job)
    first, horizon = names(1)[0], job.horizon

    def run() -> Any:
        result = evaluate(job.expression, events, key="key", time="time", time_unit="us")
        # One question, so that what is left for the first one is within the time.
        result.value_at(result.keys()[0] if first not in result.keys() else first, horizon)  # noqa: SIM118
        return result

    def collect(result: Any) -> Iterable[tuple[int, int]]:
        answers = workloads.last_values(result, job.keys, horizon)
        return enumerate(answers.tolist())

    return run, collect


def _columns(job: Job, cut: int) -> tuple[Run, Collect]:
    tree = parse(job.expression)
    used = check(tree, None, text=job.expression).columns
    batches = list(_batches(job, cut, list(used)))

    def run() -> Any:
        evaluation = Evaluation(canonical(tree))
        for batch in batches:
            evaluation.add(batch)
        return evaluation, evaluation.timeline()

    def collect(result: Any) -> Iterable[tuple[int, int]]:
        evaluation, timeline = result
        assert isinstance(timeline.values, Linear)
        # A window's end may lie beyond the horizon, and with it the last piece.
        begun = np.add.reduceat(timeline.starts <= job.horizon, timeline.offsets[:-1], dtype=np.int64)
        last = timeline.offsets[:-1] + begun - 1
        num, slope = timeline.values.num[last], timeline.values.slope[last]
        final = num + slope * (job.horizon - timeline.starts[last])
        return ((number_of(k), int(v)) for k, v in zip(evaluation.keys.names, final, strict=True))

    return run, collect


def _batches(job: Job, cut: int, used: list[str]) -> Iterable[EventBatch]:
    known, keys, times = names(job.keys), np.asarray(job.key), np.asarray(job.time)
    data = {name: np.asarray(job.column(name)) for name in used}
    for first in range(0, job.events, cut):
        rows = slice(first, min(first + cut, job.events))
        numbers, own = np.unique(keys[rows], return_inverse=True)
        yield EventBatch(
            [known[n] for n in numbers.tolist()],
            own.astype(np.int32),
            times[rows],
            Positions.in_input(first, rows.stop - first),
            {name: _tagged(column[rows], job.values[name]) for name, column in data.items()},
        )


def _tagged(data: Any, values: list[str]) -> Tagged:
    if not values:
        return Tagged(np.full(len(data), FLOAT, np.uint8), data.view(np.int64), StringTable())
    table = StringTable()
    codes = table.intern_all(values)
    known = data >= 0
    return Tagged(
        np.where(known, STRING, 0).astype(np.uint8),
        np.where(known, codes[np.where(known, data, 0)], 0),
        table,
    )


if __name__ == "__main__":
    main(prepare)
