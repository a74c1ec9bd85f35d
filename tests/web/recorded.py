"""A history store with a metric's events and the timelines of its nodes, as feeders and workers leave it."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from timeline_workers.events.times import EARLIEST, LATEST
from timeline_workers.history.computed import compute
from timeline_workers.history.model import (
    Judged,
    Outcome,
    Position,
    RawEvent,
    Revision,
    Verdict,
    Writer,
)
from timeline_workers.history.sqlite_store import SqliteStore
from timeline_workers.metric.load import load_metric
from timeline_workers.metric.model import Metric
from timeline_workers.playback.history_names import recorded_metric

TOP = Path(__file__).parents[2]
CIRR = TOP / "examples/cirr/metric.yaml"
SESSION = TOP / "examples/cirr/events.jsonl"
MILLION = 1_000_000


class Recorded:
    """One metric in a store. Times of events are numbers in seconds. ``has_nodes``: timelines are stored."""

    def __init__(self, store: SqliteStore, metric: Metric, *, has_nodes: bool = True) -> None:
        self.store, self.metric, self._has_nodes = store, metric, has_nodes
        self._recorded = recorded_metric(metric)
        self._places = itertools.count(1)
        self._stamps = itertools.count(1)

    @classmethod
    async def worked_example(cls, path: Path, *, has_nodes: bool = True) -> Recorded:
        """The worked example, stored in a new file."""
        return await cls.example(await SqliteStore.open(path), "cirr", has_nodes=has_nodes)

    @classmethod
    async def example(cls, store: SqliteStore, name: str, *, has_nodes: bool = True) -> Recorded:
        """An example's metric and its events."""
        folder = TOP / "examples" / name
        found = cls(store, load_metric(folder / "metric.yaml"), has_nodes=has_nodes)
        lines = (folder / "events.jsonl").read_text(encoding="utf-8").splitlines()
        await found.tell(*map(json.loads, lines))
        return found

    async def tell(self, *events: Mapping[str, Any]) -> None:
        """Store accepted events, and what they make of every timeline."""
        source = self.metric.source
        raw, verdicts = [], []
        for event in events:
            place = Position(0, 0, next(self._places))
            raw.append(RawEvent(place, json.dumps(event).encode()))
            time = round(event[source.time] * MILLION)
            verdicts.append(Verdict(place, Outcome.ACCEPTED, event[source.key], time))
        definition = self._recorded.definition
        await self.store.append_events(source.topic, raw, [Judged(definition, verdicts, {0: None})])
        if not self._has_nodes:
            return
        computed = await compute(self.store, self.metric.expression, source, keys=None)
        stamp = (next(self._stamps), 0)
        lanes = [(one.text, function) for one in computed.nodes for function in one.functions or ("",)]
        for node, (text, function) in zip(self._recorded.nodes, lanes, strict=True):
            assert node.expression == text
            pieces = computed.pieces(text, EARLIEST, LATEST, function=function)
            for i, key in enumerate(computed.groups(text)):
                said = [(one.start, one.value, one.slope) for one in pieces if one.key == key]
                revision = Revision(key, said[0][0], said)
                writer = Writer(f"{node.node}.{i}", node.node)
                await self.store.append_revisions(writer, stamp, [revision])
