"""The watermarks of a changelog topic, which are published in it. No I/O."""

from __future__ import annotations

import numpy as np

from feeder.positions import BEFORE_ALL, SILENT, Clock, Clocked, Offset, Reached
from timeline_workers.columns.event_batch import Positions
from timeline_workers.columns.values import Bools, Int64
from timeline_workers.wire.changelog_messages import Mark


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
