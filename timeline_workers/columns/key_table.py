"""Numbers for keys, quick for many keys at once.

A ``dict`` that outgrows the processor's caches is asked for one key after another, and waits for memory for
each. So long lists are looked up all together, where they can be: by a hash of their characters, eight in a
word, in a table with open addressing, whose hits are compared with all of the key. Short lists, and keys that
do not fit (numbers, other alphabets, long ones), take the dict. Either index is brought up to date when it is
needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from .values import Int64

Key: TypeAlias = str | int
Columns: TypeAlias = list[NDArray[np.uint64]]

FEW = 512  # below, the dict is quicker
_WORDS = 8
_LONGEST = 8 * _WORDS
_MIX = np.uint64(0x9E3779B97F4A7C15)
_SHIFT = np.uint64(29)
_FIRST_BITS = 12
_ROUNDS = 128


class KeyTable:
    """An append-only numbering of keys: ``names[i]`` is key ``i``. ``"1"`` and ``1`` are different keys.

    ``names``: distinct keys to begin with; the list becomes the table's own.
    """

    __slots__ = ("_index", "_indexed", "_packed", "names")

    def __init__(self, names: list[Key] | None = None) -> None:
        self.names: list[Key] = [] if names is None else names
        self._index: dict[Key, int] = {}
        self._indexed = 0  # so many names are in the index
        self._packed = _Packed()

    def __len__(self) -> int:
        return len(self.names)

    @property
    def index(self) -> dict[Key, int]:
        """The number of every key; not to be changed."""
        first, count = self._indexed, len(self.names)
        if first < count:
            self._index.update(zip(self.names[first:], range(first, count), strict=True))
            self._indexed = count
        return self._index

    def intern(self, key: Key) -> int:
        """Return the number of ``key``, adding it when it is new."""
        code = self.index.get(key)
        if code is None:
            code = self._index[key] = len(self.names)
            self.names.append(key)
            self._indexed += 1
        return code

    def find_all(self, keys: Sequence[Key]) -> Int64:
        """Return the numbers of ``keys``, -1 for those that have none."""
        if len(keys) >= FEW and (found := self._packed.find(keys, self.names)) is not None:
            return found
        return np.fromiter(map(self.index.get, keys, repeat(-1)), np.int64, len(keys))

    def intern_all(self, keys: Sequence[Key]) -> Int64:
        """Return the numbers of ``keys``, adding those that are new."""
        codes = self.find_all(keys) if self.names else np.full(len(keys), -1, np.int64)
        unknown = np.flatnonzero(codes < 0)
        if len(unknown):
            missing = keys if len(unknown) == len(keys) else [keys[place] for place in unknown.tolist()]
            new = dict.fromkeys(missing, -1)
            first = len(self.names)
            self.names.extend(new)
            if len(new) == len(missing):
                codes[unknown] = np.arange(first, len(self.names))
            else:
                new.update(zip(new, range(first, len(self.names)), strict=True))
                codes[unknown] = [new[key] for key in missing]
        return codes

    def renumbered(self, keep: Int64) -> KeyTable:
        """A table in which key ``keep[i]`` of this one is key ``i``, and no other is known."""
        return KeyTable([self.names[number] for number in keep.tolist()])


def _packed(keys: Sequence[Key], width: int) -> Columns | None:
    """The characters of ``keys``, eight in a word and filled up with zeros, in ``width`` columns of words, or
    more if need be; None when some key does not fit."""
    try:
        text = "".join(keys)  # type: ignore[arg-type]
    except TypeError:
        return None
    if not text.isascii() or "\0" in text:
        return None
    # With a word to spare: what is in it shows a longer key, and longer ones are cut off.
    words = np.array(keys, f"S{8 * width + 8}").view(np.uint64).reshape(len(keys), width + 1)
    if words[:, width].any():
        longest = max(map(len, keys))  # type: ignore[arg-type]
        if longest > _LONGEST:
            return None
        return _packed(keys, (longest + 7) // 8)
    return [np.ascontiguousarray(words[:, column]) for column in range(width)]


def _fits(key: Key) -> bool:
    return isinstance(key, str) and len(key) <= _LONGEST and key.isascii() and "\0" not in key


class _Packed:
    """An index of those names of a table that can be packed."""

    __slots__ = ("_bits", "_columns", "_count", "_slots", "_usable")

    def __init__(self) -> None:
        self._count = 0  # so many names have been looked at
        self._columns = [np.zeros(1, np.uint64)]  # words by number
        self._slots = np.zeros(0, np.int32)  # a number, or -1
        self._bits = 0
        self._usable = True

    def find(self, keys: Sequence[Key], names: list[Key]) -> Int64 | None:
        """The numbers of ``keys`` in ``names``, -1 for those that it does not have; None when it cannot be
        told."""
        words = _packed(keys, len(self._columns)) if self._usable else None
        if words is None:
            return None
        if self._count < len(names) or len(words) > len(self._columns) or not self._bits:
            self._take(names, len(words))
            if not self._usable:
                return None
            words = _wide(words, len(self._columns))
        found = rest = np.zeros(0, np.int64)
        slots = self._first_slots(words)
        for tried in range(_ROUNDS):
            numbers = self._slots.take(slots).astype(np.int64)
            held = numbers >= 0
            other = self._columns[0].take(numbers) ^ words[0]  # of an empty slot, that of the last key
            for column, word in zip(self._columns[1:], words[1:], strict=True):
                other |= column.take(numbers) ^ word
            same = held & (other == 0)
            on = np.flatnonzero(held ^ same)
            if tried:
                found[rest[same]] = numbers[same]
                rest = rest[on]
            else:
                found, rest = np.where(same, numbers, -1), on
            if not len(on):
                return found
            words = [word[on] for word in words]
            slots = (slots[on] + 1) & (len(self._slots) - 1)
        return None

    def _take(self, names: list[Key], width: int) -> None:
        """Look at the names that are new, and have ``width`` columns at least."""
        first = self._count
        new = names[first:] if first else names
        numbers = np.arange(first, len(names))
        had = len(self._columns)
        words = _packed(new, had) if new else None
        if words is None:
            fitting = [place for place, name in enumerate(new) if _fits(name)]
            numbers = numbers[fitting]
            words = _packed([new[place] for place in fitting], had) if fitting else []
        assert words is not None
        width = max(width, len(words), had)
        self._columns = _wide(self._columns, width)
        held = len(self._columns[0])
        if len(names) > held:
            more = np.zeros(max(len(names), 2 * held) - held, np.uint64)
            self._columns = [np.append(column, more) for column in self._columns]
        for column, word in zip(self._columns, words, strict=False):
            column[numbers] = word
        bits = max(_FIRST_BITS, (4 * len(names) - 1).bit_length() - 1, self._bits)
        if bits > self._bits or width > had:
            earlier = self._slots[self._slots >= 0]
            numbers = np.append(earlier.astype(np.int64), numbers)
            self._bits = bits
            self._slots = np.full(1 << bits, -1, np.int32)
        self._insert(numbers)
        self._count = len(names)

    def _insert(self, numbers: Int64) -> None:
        slots = self._first_slots([column[numbers] for column in self._columns])
        for _ in range(_ROUNDS):
            free = self._slots[slots] < 0
            self._slots[slots[free]] = numbers[free]
            on = np.flatnonzero(self._slots[slots] != numbers)
            if not len(on):
                return
            numbers, slots = numbers[on], (slots[on] + 1) & (len(self._slots) - 1)
        # Keys that were made to meet.
        self._usable, self._columns, self._slots = False, self._columns[:0], self._slots[:0]

    def _first_slots(self, words: Columns) -> NDArray[np.intp]:
        mixed = np.zeros(len(words[0]), np.uint64)
        for word in words:
            mixed = (mixed ^ word) * _MIX
            mixed ^= mixed >> _SHIFT
        mixed *= _MIX
        return (mixed >> np.uint64(64 - self._bits)).astype(np.intp)


def _wide(words: Columns, width: int) -> Columns:
    """``words`` in ``width`` columns."""
    return [*words, *(np.zeros(len(words[0]), np.uint64) for _ in range(width - len(words)))]
