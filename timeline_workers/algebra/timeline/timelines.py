"""Timelines of many keys in columns.

A ``Timeline`` holds, for keys ``0..K-1``, the pieces of a function of time: piece ``i`` holds from
``starts[i]`` until the next piece of its key, and the last one for ever. Key ``k`` owns rows
``offsets[k]:offsets[k+1]``; its first row starts at the key's origin, so a key in its domain has at least
one row and a key without rows is outside its domain everywhere (not known to this node yet). Neighbouring
rows of a key never say the same.
"""

from __future__ import annotations

from dataclasses import dataclass

from timeline_workers.columns.values import Int64, Values


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
