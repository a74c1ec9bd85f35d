"""The least and the greatest of many keys' timelines by group.

Timelines are merged in pairs, the winners in pairs again: a logarithmic number of whole-column steps. Where
lines cross between change points the winner changes at the crossing (or the next whole microsecond).
"""

from __future__ import annotations

import numpy as np

from timeline_workers.algebra.operators.operands import lengths
from timeline_workers.algebra.timeline import pieces
from timeline_workers.algebra.timeline.exact import combine, sign_pieces
from timeline_workers.algebra.timeline.numbers import compare
from timeline_workers.algebra.timeline.timelines import Timeline
from timeline_workers.columns import operations
from timeline_workers.columns.rows import FOREVER, offsets_of, order, row_keys
from timeline_workers.columns.values import INT, Bools, Int64, Linear, Tagged

from .totals import Contributions, as_numbers


def extreme(function: str, c: Contributions) -> Timeline:
    """The ``min`` or ``max`` of the known values in each group; unknown where there is none."""
    values: Linear | Tagged = c.values if isinstance(c.values, Linear) else as_numbers(c.values)
    member, group_of, lines = _members(c, values)
    while len(group_of) and int(np.bincount(group_of).max()) > 1:
        place = np.arange(len(group_of)) - np.searchsorted(group_of, group_of)
        is_left = place % 2 == 0
        has_partner = np.zeros(len(group_of), np.bool_)
        has_partner[:-1] = is_left[:-1] & (group_of[1:] == group_of[:-1])
        left = np.flatnonzero(has_partner)
        single = np.flatnonzero(is_left & ~has_partner)
        merged = _better(function, _pick(lines, left), _pick(lines, left + 1))
        lines = _stack(merged, _pick(lines, single))
        group_of = np.concatenate([group_of[left], group_of[single]])
        by_group = np.argsort(group_of, kind="stable")
        lines, group_of = _pick(lines, by_group), group_of[by_group]
    del member
    return _by_group(c, group_of, lines)


def _members(c: Contributions, values: Linear | Tagged) -> tuple[Int64, Int64, Timeline]:
    """One timeline per (group, key) that ever meet: the key's values while it is in the group, unknown
    else."""
    rows = np.lexsort((c.starts, c.key, c.group))
    group, key, starts, ends = c.group[rows], c.key[rows], c.starts[rows], c.ends[rows]
    values = operations.take(values, rows)
    new = np.ones(len(group), np.bool_)
    if len(group):
        new[1:] = (group[1:] != group[:-1]) | (key[1:] != key[:-1])
    member = np.cumsum(new) - 1
    group_of = group[new]
    count = len(group_of)
    leaves = ends != FOREVER
    outside = np.flatnonzero(leaves)
    blank_rows = count + len(outside)
    blank = _unknown(values, blank_rows)
    all_members = np.concatenate([np.arange(count), member[outside], member])
    all_starts = np.concatenate([np.full(count, c.since, np.int64), ends[outside], starts])
    all_values = operations.join(blank, values)
    by_time = order(all_members, all_starts)
    timeline = pieces.canonical(
        count, all_members[by_time], all_starts[by_time], operations.take(all_values, by_time)
    )
    return member, group_of, timeline


def _unknown(values: Linear | Tagged, count: int) -> Linear | Tagged:
    if isinstance(values, Tagged):
        return operations.unknown_tagged(count, values.strings)
    zeros = np.zeros(count, np.int64)
    return Linear(np.zeros(count, np.bool_), zeros, zeros)


def _pick(timeline: Timeline, keys: Int64) -> Timeline:
    return pieces.covering(timeline, keys, np.full(len(keys), -(2**63), np.int64))


def _stack(first: Timeline, second: Timeline) -> Timeline:
    offsets = np.concatenate([first.offsets, second.offsets[1:] + first.offsets[-1]])
    values = operations.join(first.values, second.values)
    return Timeline(offsets, np.concatenate([first.starts, second.starts]), values)


def _better(function: str, a: Timeline, b: Timeline) -> Timeline:
    common = pieces.refine([a, b])
    key, starts, (left_rows, right_rows) = common.key, common.starts, common.rows
    left = operations.advance(operations.take(a.values, left_rows), starts - a.starts[left_rows])
    right = operations.advance(operations.take(b.values, right_rows), starts - b.starts[right_rows])
    row = np.arange(len(key), dtype=np.int64)
    if isinstance(left, Linear):
        assert isinstance(right, Linear)
        difference = combine(left, right, -1)
        row, shift, sign = sign_pieces(difference, lengths(key, starts))
        # Of lines that meet, the one that is outermost right after.
        after = np.where(sign == 0, np.sign(difference.slope).astype(np.int8)[row], sign)
        take_right: Bools = after > 0 if function == "min" else after < 0
        left, right = (
            operations.advance(operations.take(left, row), shift),
            operations.advance(operations.take(right, row), shift),
        )
        key, starts = key[row], starts[row] + shift
    else:
        assert isinstance(left, Tagged)
        assert isinstance(right, Tagged)
        take_right = compare("<" if function == "min" else ">", right, left)
        # Of an int and a float that are the same number the int is shown, whichever key came first.
        take_right |= compare("==", right, left) & (right.tags == INT)
    take_right = (take_right & operations.known(right)) | ~operations.known(left)
    both = operations.join(left, right)
    chosen = operations.take(both, np.where(take_right, len(key), 0) + np.arange(len(key)))
    return pieces.canonical(a.keys, key, starts, chosen)


def _by_group(c: Contributions, group_of: Int64, lines: Timeline) -> Timeline:
    """Give the winners their groups, from the first instant at which the group had a key."""
    begins = np.full(c.groups, FOREVER, np.int64)
    np.minimum.at(begins, c.group, c.starts)
    begins[c.begun] = c.since
    member = row_keys(lines.offsets)
    rows = Timeline(offsets_of(group_of[member], c.groups), lines.starts, lines.values)
    present = np.diff(rows.offsets) > 0
    missing = np.array([g for g in c.begun.tolist() if not present[g]], np.int64)
    if len(missing):
        key = np.concatenate([row_keys(rows.offsets), missing])
        starts = np.concatenate([rows.starts, np.full(len(missing), c.since, np.int64)])
        assert not isinstance(rows.values, type(None))
        blank = (
            _unknown(rows.values, len(missing)) if isinstance(rows.values, (Linear, Tagged)) else rows.values
        )
        values = operations.join(rows.values, blank)
        by_time = order(key, starts)
        rows = Timeline(offsets_of(key[by_time], c.groups), starts[by_time], operations.take(values, by_time))
    return pieces.clip(rows, begins)
