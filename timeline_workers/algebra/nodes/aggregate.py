"""``x | aggregate(group_by(column), …)``: one timeline per group and function, over all keys.

At each instant a group's keys are those in their domain whose latest value of the column is that group.
When a key's column changes, its whole contribution moves at that instant. The timeline of a group starts at
the first instant at which it had a key.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from timeline_workers.algebra.leaf_input import LeafBatch
from timeline_workers.algebra.operators import inputs_of, is_exact
from timeline_workers.algebra.timeline import pieces
from timeline_workers.algebra.timeline.revisions import Revision, above, take_in
from timeline_workers.algebra.timeline.timeline_store import TimelineStore
from timeline_workers.algebra.timeline.timelines import Timeline
from timeline_workers.columns import operations
from timeline_workers.columns.key_table import Key, KeyTable
from timeline_workers.columns.rows import FOREVER, first_of_runs
from timeline_workers.columns.values import FLOAT, INT, UNKNOWN, Int64, Scalar, StringTable, Tagged
from timeline_workers.errors import StateError
from timeline_workers.language.tree import Aggregate

from .extremes import extreme
from .group_names import key_of_group
from .key_rows import AggregateRows, KeyRows, RowsShape
from .protocol import News, Part, later_mark, no_output, takes_no_events
from .totals import Contributions, count, mean, total


class AggregateNode:
    """The state of an aggregate: copies of its two inputs for all keys, and a timeline per group and
    function. ``compacted``, ``answerable_from``: as for ``EventNode``.

    Of a key that has gone quiet it keeps one row per input for ever: the key still counts in its group.
    """

    too_late = 0

    def __init__(self, expression: Aggregate, keys: KeyTable | None = None) -> None:
        self.expression = expression
        self.keys = KeyTable() if keys is None else keys
        self.strings = StringTable()
        self.inputs: list[TimelineStore | None] = [None for _ in inputs_of(expression)]
        self._group_index: dict[tuple[int, int], int] = {}
        self._group_values: list[Scalar | None] = []
        self._group_keys: list[Key] = []
        layout = "linear" if is_exact(expression.of) else "tagged"
        self.outputs: dict[str, TimelineStore] = {
            function: TimelineStore(pieces.blank("tagged" if function == "count" else layout, self.strings))
            for function in expression.functions
        }
        self._since = FOREVER
        self.before = ""
        self.compacted: int | None = None
        self.answerable_from: int | None = None

    @property
    def groups(self) -> list[Scalar | None]:
        """The groups that ever have a key; None is the null group."""
        return [self._group_values[number] for number in self.numbers.tolist()]

    @property
    def numbers(self) -> Int64:
        """The keys that ``groups`` have in ``outputs``, ascending."""
        # A late event can take a group's only key away again.
        return next(iter(self.outputs.values())).known_keys()

    @property
    def key_names(self) -> Sequence[Key]:
        """All groups there have been, by their number in ``outputs``, as keys (``group_names``)."""
        return self._group_keys

    @property
    def known(self) -> tuple[list[Scalar | None], Int64]:
        """``groups`` and ``numbers``."""
        return self.groups, self.numbers

    def output_called(self, name: str = "") -> TimelineStore:
        """The timelines of the function called ``name``; "": of the only one. Raises StateError else."""
        functions = list(self.outputs)
        chosen = functions[0] if not name and len(functions) == 1 else name
        if chosen not in self.outputs:
            raise no_output(self.expression, name, functions)
        return self.outputs[chosen]

    def parts(self) -> Sequence[Part]:
        """See ``Node``."""
        return [Part(self.expression, self.outputs, self.answerable_from, frozenset({0, 1}))]

    def take_events(self, batch: LeafBatch) -> News:
        """Refuse: only a leaf takes events."""
        raise takes_no_events(self.expression)

    def begin_from(self, slots: Sequence[int], instant: int) -> None:
        """See ``Node``."""
        self.answerable_from = later_mark(self.answerable_from, instant)

    def output(self, function: str) -> Timeline:
        """The timeline of ``function`` over ``groups``. Raises KeyError for a function not asked for."""
        return self.outputs[function].rows_of(self.numbers)

    def receive(self, slot: int, revision: Revision, floor: int | None = None) -> None:
        """Take a revision of the aggregated timeline (slot 0) or of the group column's state (slot 1);
        ``floor``: as for ``DerivedNode.receive``."""
        if not len(revision):
            return
        revision = above(self.inputs[slot], revision, self.compacted, floor)
        take_in(self.inputs, slot, revision)
        self._since = min(self._since, int(revision.froms.min()))

    def settle(self) -> News:
        """See ``Node``: what changed of each function, and under "" of an only one."""
        news = self.advance()
        return {"": news[self.expression.functions[0]], **news} if len(news) == 1 else news

    def advance(self) -> dict[str, Revision]:
        """Compute every group again from the earliest instant that the received revisions touch; returns
        what changed, by function, with groups by number as keys."""
        of, by = self.inputs
        if of is None or by is None or self._since == FOREVER:
            return {}
        if not len(of) or not len(by):
            return {}
        since = max(self._since, min(of.earliest(), by.earliest()))
        if self.compacted is not None:
            since = max(since, self.compacted)
        number = max(of.keys, by.keys)
        everyone = np.arange(number, dtype=np.int64)
        times = np.full(number, since, np.int64)
        for timeline in (of, by):
            timeline.ensure_keys(number)
        suffixes = [timeline.cut(everyone, times) for timeline in (of, by)]
        common = pieces.refine(suffixes)
        key, starts, (x_rows, by_rows) = common.key, common.starts, common.rows
        ends = np.full(len(key), FOREVER, np.int64)
        if len(key):
            inner = ~first_of_runs(key)[1:]
            ends[:-1][inner] = starts[1:][inner]
        values = operations.advance(
            operations.take(suffixes[0].values, x_rows), starts - suffixes[0].starts[x_rows]
        )
        assert isinstance(suffixes[1].values, Tagged)
        group = self._numbers(operations.take(suffixes[1].values, by_rows))
        groups = len(self._group_values)
        contributions = Contributions(
            groups, group, key, starts, ends, values, since, self._begun(since, groups)
        )
        news: dict[str, Revision] = {}
        for function in self.expression.functions:
            news[function] = self._replace(function, contributions)
        # A key that only one child has told of so far is still to come: it will be received again.
        self._since = FOREVER
        return news

    def compact(self, watermark: int, horizons: Int64 | None) -> None:
        """Forget what no revision from ``watermark`` (microseconds) or later on needs, and of the outputs
        what lies below ``horizons``, by group (None: nothing; at most ``watermark`` counts)."""
        self.compacted = watermark if self.compacted is None else max(self.compacted, watermark)
        for held in self.inputs:
            if held is not None:
                held.compact(np.full(held.keys, watermark, np.int64))
                held.recode(StringTable())
        if horizons is None:
            return
        for output in self.outputs.values():
            limits = np.full(output.keys, -FOREVER, np.int64)
            told = min(len(limits), len(horizons))
            limits[:told] = np.minimum(horizons[:told], watermark)
            compacted = output.compact(limits)
            if compacted.any():
                self.answerable_from = later_mark(self.answerable_from, int(limits[compacted].max()))

    @property
    def idle_reach(self) -> None:
        """Keys never leave an aggregate: they still count in their groups."""
        return

    def last_news(self, keys: Int64) -> Int64:
        """FOREVER: every key must stay."""
        return np.full(len(keys), FOREVER, np.int64)

    def copy_out(self, keys: Int64) -> KeyRows:
        """Refuse: an aggregate has no rows of a key apart from the others'."""
        raise _keeps_keys()

    def put_back(self, keys: Int64, rows: KeyRows) -> None:
        """Refuse, as ``copy_out`` does."""
        raise _keeps_keys()

    def renumber(self, keep: Int64) -> None:
        """Refuse, as ``copy_out`` does."""
        raise _keeps_keys()

    def put_inner_marks(self, marks: Sequence[int | None]) -> None:
        """There are no inner parts: ``marks`` must be none."""
        if marks:
            raise StateError(f"{len(marks)} marks of inner nodes for an aggregate")

    @property
    def rows_shape(self) -> RowsShape:
        """See ``Node``."""
        return RowsShape("aggregate", slots=2, functions=self.expression.functions)

    def counts(self) -> dict[str, int]:
        """See ``Node``."""
        points = sum(map(len, self.outputs.values()))
        inputs = sum(len(held) for held in self.inputs if held is not None)
        return {"change_points": points, "input_change_points": inputs, "events": 0}

    def copy_all(self) -> AggregateRows:
        """All that is held."""
        return AggregateRows(
            tuple(None if held is None else held.timeline() for held in self.inputs),
            {function: output.timeline() for function, output in self.outputs.items()},
            tuple(self._group_values),
            self._since,
        )

    def put_all(self, rows: AggregateRows) -> None:
        """Hold ``rows``, in a node that holds nothing."""
        for slot, timeline in enumerate(rows.inputs):
            if timeline is not None:
                held = self.inputs[slot] = TimelineStore(timeline.values)
                held.put_rows(np.arange(timeline.keys, dtype=np.int64), timeline)
        tags, bits = _group_codes(Tagged.of(rows.groups, self.strings))
        self._group_values = list(rows.groups)
        self._group_keys = list(map(key_of_group, rows.groups))
        self._group_index = {
            pair: number for number, pair in enumerate(zip(tags.tolist(), bits.tolist(), strict=True))
        }
        for function, output in rows.outputs.items():
            self.outputs[function].put_rows(np.arange(output.keys, dtype=np.int64), output)
        self._since = rows.since

    def nbytes(self) -> int:
        """The memory that rows take, in bytes; names and strings aside."""
        return sum(held.nbytes() for held in (*self.inputs, *self.outputs.values()) if held is not None)

    def _begun(self, since: int, groups: int) -> Int64:
        """The groups that had a key before ``since``."""
        output = next(iter(self.outputs.values()))
        output.ensure_keys(groups)
        return np.flatnonzero(output.origins(np.arange(groups, dtype=np.int64)) < since)

    def _numbers(self, by: Tagged) -> Int64:
        tags, bits = _group_codes(operations.in_table(by, self.strings))
        pairs, inverse = np.unique(np.stack([tags.astype(np.int64), bits]), axis=1, return_inverse=True)
        numbers = np.zeros(pairs.shape[1], np.int64)
        for i, (tag, code) in enumerate(pairs.T.tolist()):
            number = self._group_index.get((tag, code))
            if number is None:
                number = self._group_index[tag, code] = len(self._group_values)
                one = Tagged(np.array([tag], np.uint8), np.array([code], np.int64), self.strings)
                self._group_values.append(one.item(0))
                self._group_keys.append(key_of_group(self._group_values[-1]))
            numbers[i] = number
        result: Int64 = numbers[inverse.reshape(-1)]
        return result

    def _replace(self, function: str, contributions: Contributions) -> Revision:
        if function == "count":
            computed = count(contributions)
        elif function == "sum":
            computed = total(contributions)
        elif function == "avg":
            computed = mean(contributions)
        else:
            computed = extreme(function, contributions)
        groups = np.arange(contributions.groups, dtype=np.int64)
        times = np.full(len(groups), contributions.since, np.int64)
        output = self.outputs[function]
        output.ensure_keys(len(groups))
        place = output.place(groups, times)
        if place is None:
            output.put_rows(groups, computed)
            begun = np.flatnonzero(np.diff(computed.offsets))
            return Revision(begun, times[begun], output.rows_of(begun))
        rows, since, news = output.replace_from(place, computed)
        return Revision(groups[rows], since, news)


def _keeps_keys() -> StateError:
    return StateError("an aggregate keeps every key: none of them leaves it, or comes back")


def _group_codes(by: Tagged) -> tuple[np.ndarray[tuple[int], np.dtype[np.uint8]], Int64]:
    """Tags and bits in which equal numbers are one group: a float that is a 64-bit whole number counts as
    the int."""
    is_float = by.tags == FLOAT
    tags, bits = by.tags, by.bits
    if is_float.any():
        numbers = np.ascontiguousarray(bits).view(np.float64)
        whole = is_float & (np.abs(np.where(is_float, numbers, 0.5)) < 2.0**63)
        whole &= np.where(is_float, numbers, 0.5) == np.floor(np.where(is_float, numbers, 0.5))
        tags = np.where(whole, np.uint8(INT), tags).astype(np.uint8)
        bits = np.where(whole, np.where(whole, numbers, 0.0).astype(np.int64), bits)
    return tags, np.where(tags != UNKNOWN, bits, 0)
