"""Row arithmetic for columns grouped by key: key ``k`` owns rows ``offsets[k]:offsets[k+1]``.

Everything here works on whole columns; there is no Python loop over keys or rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .values import Bools, Int64

FOREVER = 2**63 - 1
_MANY = 2**15  # so many numbers do not stay in the fastest cache


def row_keys(offsets: Int64) -> Int64:
    """The key of every row."""
    return np.repeat(np.arange(len(offsets) - 1, dtype=np.int64), np.diff(offsets))


def offsets_of(keys: Int64, count: int) -> Int64:
    """The offsets of ``count`` keys from the ascending key of every row."""
    offsets = np.zeros(count + 1, np.int64)
    np.cumsum(np.bincount(keys, minlength=count), out=offsets[1:])
    return offsets


def ranges(starts: Int64, lengths: Int64) -> Int64:
    """``starts[0], starts[0]+1, … (lengths[0] of them), starts[1], …``."""
    total = int(lengths.sum())
    if total == 0:
        return np.zeros(0, np.int64)
    if int(lengths.max()) == 1:
        return starts if total == len(starts) else starts[np.flatnonzero(lengths)]
    ends = np.cumsum(lengths)
    rows: Int64 = np.arange(total, dtype=np.int64) + np.repeat(starts - (ends - lengths), lengths)
    return rows


def order(keys: Int64, times: Int64) -> NDArray[np.intp]:
    """A stable order by (key, time).

    Key, time and row are packed into one integer where they fit, because sorting integers is several times
    faster than sorting their rows; times that ascend already need no place in it.
    """
    count = len(keys)
    if count == 0:
        return np.zeros(0, np.intp)
    bits = count.bit_length()
    top = int(keys.max()) + 1
    if bool((times[1:] >= times[:-1]).all()):
        if bool((keys[1:] >= keys[:-1]).all()):
            return np.arange(count, dtype=np.intp)
        if top << bits < 2**63:
            return _sorted_rows(keys, bits)
        return np.argsort(keys, kind="stable")
    low = int(times.min())
    span = int(times.max()) - low + 1
    if top * span < 2**63:
        composed = keys * span + (times - low)
        if bool((composed[1:] >= composed[:-1]).all()):
            return np.arange(count, dtype=np.intp)
        if (top * span) << bits < 2**63:
            return _sorted_rows(composed, bits)
        return np.argsort(composed, kind="stable")
    return np.lexsort((times, keys))


def _sorted_rows(values: Int64, bits: int) -> NDArray[np.intp]:
    packed = values << bits
    packed |= np.arange(len(values), dtype=np.int64)
    packed.sort()
    packed &= (1 << bits) - 1
    return packed


def gathered(column: Int64, rows: Int64) -> Int64:
    """``column[rows]``, for ``rows`` in no order.

    Reading here and there costs by what it touches. So many rows are read from a copy of the column, less its
    least number, in as few bytes as hold it.
    """
    if len(rows) < _MANY or 4 * len(rows) < len(column):
        return column[rows]
    low = int(column.min())
    span = int(column.max()) - low
    if span >= 2**32:
        return column.take(rows)
    kind = np.uint8 if span < 2**8 else np.uint16 if span < 2**16 else np.uint32
    narrow = np.empty(len(column), kind)
    np.subtract(column, low, out=narrow, casting="unsafe")
    found: Int64 = narrow.take(rows).astype(np.int64)
    found += low
    return found


def merged(offsets: Sequence[Int64], starts: Sequence[Int64]) -> tuple[Int64, Bools]:
    """The order by (key, start) of the rows of several columns, each in that order, its keys' ``offsets``
    beside it.

    Returns for each row of all which column it is from, and whether it is the last at its key and instant.
    """
    bits = (len(starts) - 1).bit_length()
    low = min(int(column.min()) for column in starts)
    span = max(int(column.max()) for column in starts) - low + 1
    keys = np.arange(len(offsets[0]) - 1, dtype=np.int64)
    if (len(keys) * span) << bits < 2**63:
        packed = np.empty(sum(len(column) for column in starts), np.int64)
        begin = 0
        for index, (own, column) in enumerate(zip(offsets, starts, strict=True)):
            part = packed[begin : begin + len(column)]
            np.add(column, np.repeat(keys * span - low, np.diff(own)), out=part)
            part <<= bits
            part |= index
            begin += len(column)
        packed.sort()
        which = packed & ((1 << bits) - 1)
        packed >>= bits
        return which, np.append(packed[1:] != packed[:-1], True)
    key, time = np.concatenate([row_keys(own) for own in offsets]), np.concatenate(starts)
    which = np.repeat(np.arange(len(starts)), [len(column) for column in starts])
    rows = order(key, time)
    key, time = key[rows], time[rows]
    return which[rows], np.append((key[1:] != key[:-1]) | (time[1:] != time[:-1]), True)


def led(offsets: Int64, needed: Bools) -> tuple[Int64, Int64, Int64]:
    """Where rows go when each key that has it ``needed`` gets one row more, before its own.

    Returns the new offsets, the places of the new rows and those of the others.
    """
    more = np.zeros(len(offsets), np.int64)
    np.cumsum(needed, out=more[1:])
    others = np.arange(int(offsets[-1]), dtype=np.int64)
    others += np.repeat(more[1:], np.diff(offsets))
    grown = offsets + more
    return grown, grown[:-1][needed], others


def offsets_of_runs(keys: Int64, same: Bools, count: int) -> Int64:
    """The offsets of ``count`` keys from the ascending key of every row; ``same``: whether each row but the
    first is of the key of the row before it."""
    offsets = np.zeros(count + 1, np.int64)
    if len(keys):
        first = np.append(0, np.flatnonzero(~same) + 1)
        offsets[keys[first] + 1] = np.diff(first, append=len(keys))
    return np.cumsum(offsets, out=offsets)


def kept_offsets(offsets: Int64, stay: Bools) -> Int64:
    """The offsets when only the rows that ``stay`` are left."""
    kept = np.zeros(len(stay) + 1, np.int32 if len(stay) < 2**31 else np.int64)
    np.cumsum(stay, dtype=kept.dtype, out=kept[1:])
    left: Int64 = kept[offsets].astype(np.int64)
    return left


def first_of_runs(keys: Int64) -> Bools:
    """Whether a row is the first of its key, for ascending ``keys``."""
    first = np.empty(len(keys), np.bool_)
    if len(keys):
        first[0] = True
        np.not_equal(keys[1:], keys[:-1], out=first[1:])
    return first


def ascending(numbers: Int64) -> bool:
    """Whether no number is less than the one before it."""
    return bool((numbers[1:] >= numbers[:-1]).all())


def earliest(count: int, keys: Int64, times: Int64) -> Int64:
    """The least of ``times`` for each of ``count`` keys, whose numbers are beside them; FOREVER for none."""
    least = np.full(count, FOREVER, np.int64)
    if len(keys) and ascending(keys):
        first = np.flatnonzero(first_of_runs(keys))
        least[keys[first]] = np.minimum.reduceat(times, first)
    else:
        np.minimum.at(least, keys, times)
    return least


def distinct(numbers: Int64) -> tuple[Int64, Int64]:
    """The numbers that occur, ascending, and the place of each of ``numbers`` among them."""
    if bool((numbers[1:] > numbers[:-1]).all()):
        return numbers, np.arange(len(numbers), dtype=np.int64)
    found, places = np.unique(numbers, return_inverse=True)
    return found, places


def next_starts(offsets: Int64, starts: Int64) -> Int64:
    """Where each row ends: the next row's start, or FOREVER for the last of a key."""
    ends = np.empty(len(starts), np.int64)
    if len(starts):
        ends[:-1] = starts[1:]
        last = offsets[1:][np.diff(offsets) > 0] - 1
        ends[last] = FOREVER
    return ends


def search(offsets: Int64, starts: Int64, keys: Int64, times: Int64) -> Int64:
    """For each (key, time): the number of rows of that key with start <= time."""
    low = offsets[keys]
    return search_runs(low, offsets[keys + 1] - low, starts, times)


def search_runs(first: Int64, counts: Int64, starts: Int64, times: Int64) -> Int64:
    """For each run of ``counts`` rows from ``first`` on: the number of its rows with start <= time.

    A vectorised search that goes back from the end, where in-order questions are, in steps that double; and
    after some looks at the beginning, where those about a key's origin are.
    """
    if len(starts) == 0 or len(first) == 0:
        return np.zeros(len(first), np.int64)
    high = first + counts
    at_end = (counts > 0) & (starts[np.maximum(high - 1, 0)] <= times)
    low = np.where(at_end, high, first)
    active = np.flatnonzero(low < high)
    lo, hi, wanted = low[active], high[active] - 1, times[active]
    rounds = 0
    while len(active):
        rest = np.flatnonzero(lo < hi)
        if len(rest) < len(active):
            low[active] = lo
            active, lo, hi, wanted = active[rest], lo[rest], hi[rest], wanted[rest]
        # Within the last step taken, half the way is nearer than the next step.
        probe = lo.copy() if rounds in (3, 4) else np.maximum(hi - (1 << rounds), (lo + hi) >> 1)
        right = starts[probe] <= wanted
        np.copyto(hi, probe, where=~right)
        probe += 1
        np.copyto(lo, probe, where=right)
        rounds = min(rounds + 1, 62)
    found: Int64 = low - first
    return found
