"""``x | aggregate(group_by(column), …)``: one timeline per group and function, over all keys.

At each instant a group's keys are those in their domain whose latest value of the column is that group.
When a key's column changes, its whole contribution moves at that instant. The timeline of a group starts at
the first instant at which it had a key.
"""

from __future__ import annotations

import numpy as np

from timeline_workers.algebra.operators import inputs_of, is_exact
from timeline_workers.algebra.timeline import pieces
from timeline_workers.algebra.timeline.revisions import Revision, above, take_in
from timeline_workers.algebra.timeline.timeline_store import TimelineStore
from timeline_workers.algebra.timeline.timelines import Timeline
from timeline_workers.columns import operations
from timeline_workers.columns.key_table import KeyTable
from timeline_workers.columns.rows import FOREVER, first_of_runs
from timeline_workers.columns.values import FLOAT, INT, UNKNOWN, Int64, Scalar, StringTable, Tagged
from timeline_workers.language.tree import Aggregate

from .extremes import extreme
from .key_rows import AggregateRows
from .totals import Contributions, count, mean, total


class AggregateNode:
    """The state of an aggregate: copies of its two inputs for all keys, and a timeline per group and
    function. ``compacted``, ``answerable_from``: as for ``EventNode``.

    Of a key that has gone quiet it keeps one row per input for ever: the key still counts in its group.
    """

    def __init__(self, expression: Aggregate, keys: KeyTable | None = None) -> None:
        self.expression = expression
        self.keys = KeyTable() if keys is None else keys
        self.strings = StringTable()
        self.inputs: list[TimelineStore | None] = [None for _ in inputs_of(expression)]
        self._group_index: dict[tuple[int, int], int] = {}
        self._group_values: list[Scalar | None] = []
        layout = "linear" if is_exact(expression.of) else "tagged"
        self.outputs: dict[str, TimelineStore] = {
            function: TimelineStore(pieces.blank("tagged" if function == "count" else layout, self.strings))
            for function in expression.functions
        }
        self._since = FOREVER
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

    def advance(self) -> None:
        """Compute every group again from the earliest instant that the received revisions touch."""
        of, by = self.inputs
        if of is None or by is None or self._since == FOREVER:
            return
        if not len(of) or not len(by):
            return
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
        for function in self.expression.functions:
            self._replace(function, contributions)
        # A key that only one child has told of so far is still to come: it will be received again.
        self._since = FOREVER

    def compact(self, watermark: int, horizon: int | None) -> None:
        """Forget what no revision from ``watermark`` (microseconds) or later on needs, and of the outputs
        what lies below ``horizon`` (None: nothing; at most ``watermark`` counts)."""
        self.compacted = watermark if self.compacted is None else max(self.compacted, watermark)
        for held in self.inputs:
            if held is not None:
                held.compact(np.full(held.keys, watermark, np.int64))
                held.recode(StringTable())
        if horizon is None:
            return
        limit = min(horizon, watermark)
        for output in self.outputs.values():
            if output.compact(np.full(output.keys, limit, np.int64)).any():
                held_from = self.answerable_from
                self.answerable_from = limit if held_from is None else max(held_from, limit)

    def copy_out(self) -> AggregateRows:
        """All that is held."""
        return AggregateRows(
            tuple(None if held is None else held.timeline() for held in self.inputs),
            {function: output.timeline() for function, output in self.outputs.items()},
            tuple(self._group_values),
            self._since,
        )

    def put_back(self, rows: AggregateRows) -> None:
        """Hold ``rows``, in a node that holds nothing."""
        for slot, timeline in enumerate(rows.inputs):
            if timeline is not None:
                held = self.inputs[slot] = TimelineStore(timeline.values)
                held.put_rows(np.arange(timeline.keys, dtype=np.int64), timeline)
        tags, bits = _group_codes(Tagged.of(rows.groups, self.strings))
        self._group_values = list(rows.groups)
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
            numbers[i] = number
        result: Int64 = numbers[inverse.reshape(-1)]
        return result

    def _replace(self, function: str, contributions: Contributions) -> None:
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
        self.outputs[function].replace_suffix(groups, times, computed)


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
