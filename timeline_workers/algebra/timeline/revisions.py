"""Revisions: of some keys, from some instant on, their timelines anew."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from timeline_workers.columns.rows import FOREVER, first_of_runs
from timeline_workers.columns.values import Int64

from . import pieces
from .timeline_store import TimelineStore
from .timelines import Timeline


@dataclass(frozen=True, slots=True)
class Revision:
    """``keys[i]``, from ``froms[i]`` on, is ``suffix``'s key ``i``. ``keys``: ascending numbers in a
    KeyTable; ``froms``: microseconds.
    """

    keys: Int64
    froms: Int64
    suffix: Timeline

    def __len__(self) -> int:
        return len(self.keys)


class KeySet:
    """Keys with the earliest instant from which each needs attention."""

    def __init__(self) -> None:
        self._froms = np.zeros(0, np.int64)
        self._added: list[Int64] = []  # all that are marked are among these

    def add(self, keys: Int64, froms: Int64) -> None:
        """Mark ``keys`` (distinct) from ``froms`` on."""
        if not len(keys):
            return
        top = int(keys.max()) + 1
        if top > len(self._froms):
            grown = np.full(max(top, 2 * len(self._froms)), FOREVER, np.int64)
            grown[: len(self._froms)] = self._froms
            self._froms = grown
        self._froms[keys] = np.minimum(self._froms[keys], froms)
        self._added.append(keys)

    def marked(self) -> Int64:
        """The marked keys, ascending. This costs by how many were marked, not by the greatest."""
        if not self._added:
            return np.zeros(0, np.int64)
        keys = self._added[0] if len(self._added) == 1 else np.concatenate(self._added)
        if not bool((keys[1:] > keys[:-1]).all()):
            keys = np.sort(keys)
            keys = keys[np.flatnonzero(first_of_runs(keys))]
        keys = keys[np.flatnonzero(self._froms[keys] != FOREVER)]
        self._added = [keys] if len(keys) else []
        return keys

    def take(self, keys: Int64) -> Int64:
        """Return the instants of ``keys`` and unmark them."""
        froms = self._froms[keys]
        self._froms[keys] = FOREVER
        return froms

    def peek(self, keys: Int64) -> Int64:
        """Return the instants of ``keys``; FOREVER where a key is not marked."""
        froms = np.full(len(keys), FOREVER, np.int64)
        known = keys < len(self._froms)
        froms[known] = self._froms[keys[known]]
        return froms

    def among(self, keys: Int64) -> Int64:
        """Those of ``keys`` that are marked."""
        marked: Int64 = keys[self.peek(keys) != FOREVER]
        return marked

    def renumber(self, keep: Int64) -> None:
        """Key ``keep[i]`` becomes key ``i``; all others are unmarked."""
        self._froms = self.peek(keep)
        self._added = [np.flatnonzero(self._froms != FOREVER)]


def above(
    held: TimelineStore | None, revision: Revision, compacted: int | None, floor: int | None
) -> Revision:
    """``revision`` without what it says of instants below ``compacted`` or ``floor`` of keys that are held.

    A snapshot tells everything again, or takes it back; what lies below has its final form, and may be held
    in more detail than the child still has. A key that is not held is taken as a whole.
    """
    if held is None or (compacted is None and floor is None):
        return revision
    least = max(mark for mark in (compacted, floor) if mark is not None)
    if bool((revision.froms >= least).all()):
        return revision
    held.ensure_keys(int(revision.keys.max()) + 1)
    known = held.origins(revision.keys) != FOREVER
    froms = np.where(known, np.maximum(revision.froms, least), revision.froms)
    return Revision(revision.keys, froms, pieces.clip(revision.suffix, froms))


def take_in(inputs: list[TimelineStore | None], slot: int, revision: Revision) -> None:
    """Apply a child's revision to the copy held of it."""
    held = inputs[slot]
    if held is None:
        held = inputs[slot] = TimelineStore(revision.suffix.values)
    held.replace_suffix(revision.keys, revision.froms, revision.suffix)
