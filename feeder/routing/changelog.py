"""Reading a changelog topic: its messages as events of the one leaf, and its watermarks. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from feeder.positions import BEFORE_ALL, SILENT, Clock, Clocked, Offset, Reached
from timeline_workers.algebra.leaf_input import CHANGELOG_COLUMN
from timeline_workers.algebra.nodes.changelog import Overwritten
from timeline_workers.columns.event_batch import EventBatch, Positions
from timeline_workers.columns.key_table import Key
from timeline_workers.columns.values import Bools, Int64, Tagged
from timeline_workers.errors import EventError
from timeline_workers.events.rules import Decoded, Reject
from timeline_workers.events.times import EARLIEST
from timeline_workers.wire.changelog import Change, Mark, read_message


@dataclass(frozen=True, slots=True)
class DecodedChangelog(Decoded):
    """What a batch of messages says. ``marks``: the watermarks among them, by row; None: a message that is
    about another function of an aggregate than is read."""

    marks: dict[int, Mark | None]


class ChangelogDecoder:
    """Decodes the messages of a changelog, whose times are in ``unit``, for leaves of the kinds ``kinds``.
    ``function``: of an aggregate, which is read; None: what there is."""

    def __init__(self, unit: str, kinds: frozenset[str], function: str | None = None) -> None:
        self._unit, self._kinds, self._function = unit, kinds, function

    def decode(
        self,
        payloads: Sequence[Any],
        positions: Positions,
        publish_times: Int64 | None = None,
        max_ahead: int | None = None,
    ) -> DecodedChangelog:
        """Decode JSON texts, one per position; the other arguments are those of events."""
        keys: dict[tuple[type, Key], int] = {}
        names: list[Key] = []
        codes: list[int] = []
        rows: list[int] = []
        texts: list[str] = []
        marks: dict[int, Mark | None] = {}
        rejects: list[Reject] = []
        times = np.zeros(len(payloads), np.int64)
        for row, payload in enumerate(payloads):
            try:
                said = read_message(payload, self._unit, self._function)
                if isinstance(said, Change):
                    _check_kind(said, self._kinds)
            except EventError as error:
                rejects.append(Reject(row, error.reason, str(error), payload))
                continue
            if not isinstance(said, Change):
                marks[row] = said
                continue
            since = EARLIEST if said.since is None else said.since
            one = Overwritten(since, said.until, said.revision, said.value, said.slope, said.withdrawn)
            if (type(said.key), said.key) not in keys:
                keys[type(said.key), said.key] = len(names)
                names.append(said.key)
            codes.append(keys[type(said.key), said.key])
            rows.append(row)
            texts.append(one.text())
            times[row] = since
        found = np.array(rows, np.int64)
        batch = EventBatch(
            names,
            np.array(codes, np.int32),
            times[found],
            positions.take(found),
            {CHANGELOG_COLUMN: Tagged.of(texts)},
        )
        timed = np.zeros(len(payloads), np.bool_)
        timed[found] = True
        return DecodedChangelog(batch, found, times, timed, [], rejects, marks)


def _check_kind(said: Change, kinds: frozenset[str]) -> None:
    if said.withdrawn:
        return
    value = said.value
    fits = {
        "boolean": isinstance(value, bool),
        "numeric": value is None or not isinstance(value, bool | str),
        "state": said.slope is None or said.slope == 0,
    }
    for kind in sorted(kinds):
        if not fits[kind]:
            raise EventError("wrong-type", f"value {value!r:.60} is not of a timeline of kind {kind}")


class ChangelogClock(Clock):
    """The watermarks of a changelog: of each partition the least that its writers have published, once all
    of them have; no message is late.
    """

    def __init__(self, partitions: int = 1) -> None:
        super().__init__(0, partitions)
        self._marks: dict[int, Mark | None] = {}
        self._writers: dict[int, dict[tuple[str, int, str], Mark]] = {}

    def hear(self, marks: dict[int, Mark | None]) -> None:
        """Note the watermarks among the messages that ``advance`` is given next."""
        self._marks = marks

    def advance(
        self,
        position: Positions,
        time: Int64,
        valid: Bools,
        published: Int64,
        late: Bools | None = None,
        timed: Bools | None = None,
    ) -> Clocked:
        """Take N messages, in order within each partition; see ``Clock.advance``."""
        before = np.full(len(time), BEFORE_ALL, np.int64)
        after = np.full(len(time), BEFORE_ALL, np.int64)
        late_count, refused_count = np.zeros((2, len(time)), np.int64)
        nothing = np.zeros(len(time), np.bool_)
        refused = ~valid
        refused[list(self._marks)] = False
        for partition in np.unique(position.partition).tolist():
            rows = np.flatnonzero(position.partition == partition)
            was = self._reached.get(partition, SILENT)
            mark = BEFORE_ALL if was.watermark is None else was.watermark
            for row in rows.tolist():
                before[row] = mark
                if (said := self._marks.get(row)) is not None:
                    mark = max(mark, self._least(partition, said))
                after[row] = mark
            late_count[rows] = was.late
            refused_count[rows] = was.refused + np.cumsum(refused[rows])
            last = rows[-1]
            self._reached[partition] = Reached(
                Offset(int(position.major[last]), int(position.minor[last])),
                None if mark == BEFORE_ALL else mark,
                was.late,
                int(refused_count[last]),
                int(published[last]),
                was.noted,
            )
        self._marks = {}
        return Clocked(nothing, nothing, before, after, late_count, refused_count)

    def _least(self, partition: int, mark: Mark) -> int:
        """The watermark of ``partition``, now that ``mark`` was published there."""
        writers = self._writers.setdefault(partition, {})
        held = writers.get((mark.metric, mark.partitions, mark.partition))
        if held is None or held.revision < mark.revision:
            writers[mark.metric, mark.partitions, mark.partition] = mark
        own = [m for m in writers.values() if (m.metric, m.partitions) == (mark.metric, mark.partitions)]
        return min(m.watermark for m in own) if len(own) == mark.partitions else BEFORE_ALL
