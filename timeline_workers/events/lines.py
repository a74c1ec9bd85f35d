"""Many JSON texts as one buffer, and the values that stand at known places of it, all rows at once.

Nothing here knows JSON's grammar beyond numbers; ``template`` finds the places.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from timeline_workers.columns.values import FLOAT, INT, Bools, Int64, UInt8

UInt64 = NDArray[np.uint64]

LINE_BYTES: Final = 4096
"""Longer texts have no place here: a template reads up to this far beyond a line that does not fit it."""
STRING_BYTES: Final = 64
"""The longest string that ``distinct`` takes."""

_MARGIN: Final = bytes(LINE_BYTES + STRING_BYTES + 8)
_INT_DIGITS: Final = 18  # any such number fits 64 bits
_EXACT_DIGITS: Final = (
    15  # any such number is a double, and so is its quotient by a power of ten, rounded once
)
_MOST_DIGITS: Final = 24
_POWERS: Final = 10.0 ** np.arange(_EXACT_DIGITS + 1)
_ROUNDS: Final = 8

_U = np.uint64
_LOW: Final = np.array([(1 << 8 * n) - 1 for n in range(9)], np.uint64)  # the first n bytes of a word
_HIGH: Final = ~_LOW[::-1]  # the last n
_ZEROS: Final = _U(0x3030303030303030)
_BEYOND_9: Final = _U(0x7676767676767676)
_TOP_BITS: Final = _U(0x8080808080808080)
_MIX: Final = _U(0x9E3779B97F4A7C15)  # odd, with its bits well spread: 2**64 over the golden ratio


@dataclass(frozen=True, slots=True)
class Lines:
    """N texts one after the other.

    ``raw``: all of them between margins; ``text``: its bytes, and ``words`` the eight bytes from each place
    on as one number, the first byte lowest; ``bounds``: int64[N+1], text ``i`` is
    ``raw[bounds[i]:bounds[i+1]]``; ``special``: the places of quotes, backslashes and control characters;
    ``begin``: int64[N+1], how many of them are before each text.
    """

    raw: bytes
    text: UInt8
    words: UInt64
    bounds: Int64
    special: Int64
    specials: Int64
    begin: Int64
    dots: Int64

    @staticmethod
    def of(payloads: Sequence[bytes]) -> Lines:
        """Put ``payloads`` together."""
        raw = b"".join((_MARGIN, *payloads, _MARGIN))
        text = np.frombuffer(raw, np.uint8)
        words: UInt64 = np.ndarray((len(raw) - 7,), np.dtype("<u8"), raw, 0, (1,))
        bounds = np.empty(len(payloads) + 1, np.int64)
        bounds[0] = len(_MARGIN)
        np.cumsum(np.fromiter(map(len, payloads), np.int64, len(payloads)), out=bounds[1:])
        bounds[1:] += len(_MARGIN)
        special = _special(raw, text, int(bounds[0]), int(bounds[-1]))
        begin = np.searchsorted(special, bounds)
        dots = np.flatnonzero(text == ord(".")) if b"." in raw else bounds[:0]
        return Lines(raw, text, words, bounds, special, np.diff(begin), begin[:-1], dots)

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def texts(self) -> Bools:
        """Which of them are UTF-8 for sure, if they begin and end with ASCII."""
        usable = np.ones(len(self), np.bool_)
        if not self.raw.isascii():
            try:
                self.raw.decode()
            except UnicodeDecodeError:
                places = np.flatnonzero(self.text >= 0x80)
                usable = np.diff(np.searchsorted(places, self.bounds)) == 0
        return usable

    def packed(self, start: Int64, size: Int64) -> list[UInt64]:
        """Strings of ``size`` bytes at ``start``, eight bytes of each in an array, filled up with zeros."""
        longest = max(int(size.max(initial=0)), 1)
        return [
            (self.words[start + at] & _LOW[np.minimum(np.maximum(size - at, 0), 8)]).astype("<u8", copy=False)
            for at in range(0, longest, 8)
        ]


def strings(packed: Sequence[UInt64]) -> list[str]:
    """The strings of which ``packed`` has the bytes; they hold no character 0."""
    raw = np.ascontiguousarray(np.stack(packed, axis=1)).view(f"S{8 * len(packed)}").ravel()
    try:
        texts: list[str] = raw.astype(f"U{8 * len(packed)}").tolist()
    except UnicodeDecodeError:  # not all of it is ASCII
        texts = [one.decode() for one in raw.tolist()]
    return texts


def _special(raw: bytes, text: UInt8, first: int, last: int) -> Int64:
    part = text[first:last]
    if raw.find(b" ", first, last) < 0 and raw.find(b"!", first, last) < 0:
        found = part <= ord('"')  # those two are all that is between control characters and the quote
    else:
        found = (part < ord(" ")) | (part == ord('"'))
    if raw.find(b"\\", first, last) >= 0:
        found |= part == ord("\\")
    return np.flatnonzero(found) + first


def numbers(lines: Lines, start: Int64, end: Int64, wanted: bool) -> tuple[Bools, UInt8, Int64]:
    """Read the JSON numbers in ``[start, end)`` of each row: which of them could be read, tags, and bits.

    Those that could are exactly what a correctly rounding parser reads. The others are no numbers, or of a
    rare form: with an exponent, an int of more than 18 digits, ``-0``. Unless ``wanted``, tags and bits say
    nothing.
    """
    negative = lines.text[start] == ord("-")
    first = start + negative
    if not len(lines.dots):
        value, good = _digits(lines, end, end - first, _INT_DIGITS)
        good &= (lines.text[first] != ord("0")) | ((end - first == 1) & ~negative)
        if negative.any():
            value = np.where(negative, -value, value)
        return good, np.full(len(start), INT, np.uint8), value
    dot = lines.dots[np.minimum(np.searchsorted(lines.dots, first), len(lines.dots) - 1)]
    fraction = (dot >= first) & (dot < end)
    whole_end = np.where(fraction, dot, end)
    whole = whole_end - first
    value, good = _digits(lines, whole_end, whole, _INT_DIGITS)
    good &= (lines.text[first] != ord("0")) | ((whole == 1) & (fraction | ~negative))
    after = np.where(fraction, end - dot - 1, 1)
    part, fine = _digits(lines, np.where(fraction, end, lines.bounds[0]), after, _MOST_DIGITS)
    good &= fine | ~fraction
    tags = np.where(fraction, FLOAT, INT).astype(np.uint8)
    if not wanted:
        return good, tags, value
    short = fraction & (whole + after <= _EXACT_DIGITS)
    power = _POWERS[np.where(short, after, 0)]
    double = (value * power + np.where(short, part, 0)) / power
    for row in np.flatnonzero(good & fraction & ~short).tolist():
        double[row] = abs(float(lines.raw[start[row] : end[row]]))
    double = np.where(negative, -double, double) + 0.0  # there is one zero
    return good, tags, np.where(fraction, double.view(np.int64), np.where(negative, -value, value))


def _digits(lines: Lines, end: Int64, count: Int64, most: int) -> tuple[Int64, Bools]:
    """The number that the ``count`` characters before ``end`` write, where these are 1 to ``most`` digits."""
    good = (count >= 1) & (count <= most)
    longest = int(count.max(initial=1, where=good))
    value = np.zeros(len(end), np.uint64)
    odd = np.zeros(len(end), np.uint64)
    for before in range(0, longest, 8):
        mask = _HIGH[np.minimum(np.maximum(count - before, 0), 8)]
        word = ((lines.words[end - before - 8] ^ _ZEROS) & mask).astype(np.uint64, copy=False)
        odd |= (word + _BEYOND_9) | word
        # Eight digits in three steps: neighbours make pairs, pairs fours, fours the number.
        word = (word * _U(10) + (word >> _U(8))) & _U(0x00FF00FF00FF00FF)
        word = (word * _U(100) + (word >> _U(16))) & _U(0x0000FFFF0000FFFF)
        word = (word * _U(10_000) + (word >> _U(32))) & _U(0xFFFFFFFF)
        value += word * _U(10**before)
    good &= odd & _TOP_BITS == 0
    return value.view(np.int64), good


def distinct(packed: Sequence[UInt64]) -> tuple[Int64, Int64]:
    """Return the rows at which a string is met for the first time, ascending, and of each row the number of
    its string in that list. ``packed``: see ``Lines.packed``.
    """
    count = len(packed[0])
    mixed = np.zeros(count, np.uint64)
    for word in packed:
        mixed = (mixed ^ word) * _MIX
        mixed ^= mixed >> _U(29)
    mixed *= _MIX
    bits = max(count, 8).bit_length() + 1
    table = np.empty(1 << bits, np.int64)
    heads = rest = np.arange(count)
    words = packed
    for _ in range(_ROUNDS):
        slot = (mixed >> _U(64 - bits)).astype(np.intp)
        table[slot[::-1]] = rest[::-1]  # of the rows of a slot the first stays
        head = table[slot]
        other = np.zeros(len(rest), np.uint64)
        for all_of_it, word in zip(packed, words, strict=True):
            other |= all_of_it[head] ^ word
        same = other == 0
        if len(rest) == count:
            heads = head
        else:
            heads[rest[same]] = head[same]
        if same.all():
            break
        left = ~same
        rest, mixed, words = rest[left], mixed[left], [word[left] for word in words]
        mixed = (mixed ^ (mixed >> _U(31))) * _MIX
    else:  # strings made to meet in every round
        known: dict[Any, int] = {}
        for row, value in zip(
            rest.tolist(), zip(*(word.tolist() for word in words), strict=True), strict=True
        ):
            heads[row] = known.setdefault(value, row)
    is_head = heads == np.arange(count)
    numbered = np.cumsum(is_head) - 1
    return np.flatnonzero(is_head), numbered[heads]
