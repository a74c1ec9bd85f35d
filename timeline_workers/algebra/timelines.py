"""Timelines of many keys in columns.

A ``Timeline`` holds, for keys ``0..K-1``, the pieces of a function of time: piece ``i`` holds from
``starts[i]`` until the next piece of its key, and the last one for ever. Key ``k`` owns rows
``offsets[k]:offsets[k+1]``; its first row starts at the key's origin, so a key in its domain has at least
one row and a key without rows is outside its domain everywhere (not known to this node yet). Neighbouring
rows of a key never say the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import TypeAlias

import numpy as np

from .values import Int64, Values

Key: TypeAlias = str | int


@dataclass(frozen=True, slots=True)
class Timeline:
    """``offsets``: int64[K+1]; ``starts``: int64[N], microseconds, ascending within a key; ``values``: N."""

    offsets: Int64
    starts: Int64
    values: Values

    @property
    def keys(self) -> int:
        """Number of keys."""
        return len(self.offsets) - 1

    def __len__(self) -> int:
        return len(self.starts)


@dataclass(slots=True)
class KeyTable:
    """An append-only numbering of keys: ``names[i]`` is key ``i``. ``"1"`` and ``1`` are different keys."""

    names: list[Key] = field(default_factory=list)
    index: dict[Key, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.names)

    def intern(self, key: Key) -> int:
        """Return the number of ``key``, adding it when it is new."""
        code = self.index.get(key)
        if code is None:
            code = self.index[key] = len(self.names)
            self.names.append(key)
        return code

    def intern_all(self, keys: Sequence[Key]) -> Int64:
        """Return the numbers of ``keys``, adding those that are new."""
        codes = np.fromiter(map(self.index.get, keys, repeat(-1)), np.int64, len(keys))
        unknown = np.flatnonzero(codes < 0)
        if len(unknown):
            missing = [keys[place] for place in unknown.tolist()]
            new = list(dict.fromkeys(missing))
            self.index.update(zip(new, range(len(self.names), len(self.names) + len(new)), strict=True))
            self.names.extend(new)
            if len(new) == len(missing):
                codes[unknown] = np.arange(len(self.names) - len(new), len(self.names))
            else:
                codes[unknown] = [self.index[key] for key in missing]
        return codes

    def renumbered(self, keep: Int64) -> KeyTable:
        """A table in which key ``keep[i]`` of this one is key ``i``, and no other is known."""
        names = [self.names[number] for number in keep.tolist()]
        return KeyTable(names, {name: number for number, name in enumerate(names)})
