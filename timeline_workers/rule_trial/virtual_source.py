"""``VirtualSource``: one source partition and the graph of an expression that reads it, in process.

Events are decoded, judged and evaluated as a feeder and the workers do it. Instants are microseconds.
"""

from __future__ import annotations

import numpy as np

from timeline_workers.algebra.graph_evaluation import Evaluation
from timeline_workers.algebra.timeline import pieces
from timeline_workers.columns.event_batch import Positions
from timeline_workers.events.decode import Decoder, Payload
from timeline_workers.events.times import from_microseconds
from timeline_workers.language.canonical import canonical
from timeline_workers.language.check import check
from timeline_workers.language.parser import parse
from timeline_workers.metric.model import Source
from timeline_workers.wire.news import News


class VirtualSource:
    """``watermark``: below it an event is late, None before the first; ``latest``: the greatest time of an
    event so far, or None."""

    def __init__(self, source: Source, expression: str) -> None:
        self.source = source
        tree = parse(expression)
        columns = {name: spec.type for name, spec in self.source.columns.items()} or None
        checked = check(tree, columns)
        self._decoder = Decoder.for_source(
            self.source,
            only=dict.fromkeys([*self.source.columns, *checked.columns]),
            requirements=checked.requirements,
            alike=checked.alike,
        )
        self._evaluation = Evaluation(canonical(tree))
        self._seen = 0
        self._news: list[News] = []
        self._risen = False
        self.watermark: int | None = None
        self.latest: int | None = None

    def read(self, event: Payload, at: int | None) -> tuple[str, str]:
        """Read an event that is published at ``at``, or, None, at its time or that of one before it. Returns
        the code and the words of why it was refused, "" when it was not."""
        place = Positions.in_input(self._seen, 1)
        self._seen += 1
        published = None if at is None else np.array([at], np.int64)
        decoded = self._decoder.decode([event], place, published, self.source.max_ahead)
        if decoded.rejects:
            return decoded.rejects[0].reason, f"{decoded.rejects[0].reason}: {decoded.rejects[0].message}"
        time = int(decoded.batch.time[0])
        if self.watermark is not None and time < self.watermark:
            unit = self.source.time_unit
            ahead, when = from_microseconds(self.watermark, unit), from_microseconds(time, unit)
            return "late", f"late: its time {when} is below the watermark, {ahead}"
        self.latest = time if self.latest is None else max(time, self.latest)
        for revision in self._evaluation.add(decoded.batch):
            names = self._evaluation.keys.names
            keys = [names[number] for number in revision.keys.tolist()]
            self._news.append(News(keys, revision.froms, revision.suffix, self.watermark, False))
        if at is None or time <= at + self.source.clock_skew:
            self._rise((time if at is None else min(time, at)) - self.source.allowed_lateness)
        return "", ""

    def news(self) -> list[News]:
        """What is new since this was asked last, as an output hears it."""
        news, self._news = self._news, []
        if self._risen:
            none = np.zeros(0, np.int64)
            nothing = pieces.empty(pieces.blank("flags"))
            news.append(News([], none, nothing, self.watermark, True))
            self._risen = False
        return news

    def _rise(self, mark: int) -> None:
        if self.watermark is None or mark > self.watermark:
            self.watermark, self._risen = mark, True
