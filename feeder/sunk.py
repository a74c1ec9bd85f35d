"""Keys for which nothing more can change: ``has_existed`` is True from a key's first match on, for ever.

A leaf of ``has_existed`` needs each key's earliest match and no other. What was sent is remembered, for a
bounded number of keys, and later matches of such a key are left out; an earlier one is sent, as it moves the
change. Forgetting a key costs a row sent in vain, nothing else.
"""

from __future__ import annotations

from itertools import repeat

import numpy as np

from timeline_workers.algebra.leaves import LeafBatch, LeafRouter
from timeline_workers.algebra.timelines import Key
from timeline_workers.language.tree import HasExisted

KEYS = 200_000
_NEVER_SENT = 2**63 - 1


class Sunk:
    """The matches that one leaf was sent."""

    def __init__(self) -> None:
        self._first: dict[Key, int] = {}

    @staticmethod
    def applies(router: LeafRouter) -> bool:
        """Whether the leaf is a ``has_existed`` over events."""
        return isinstance(router.leaf, HasExisted)

    def needed(self, batch: LeafBatch) -> LeafBatch:
        """The batch with only those rows that come before everything their key was sent, one a key. It still
        names all keys. Call ``sent`` once it has been given to somebody who will deliver it.
        """
        if not len(batch.time):
            return batch
        order = np.lexsort((batch.time, batch.key))
        heads = order[np.append(True, np.diff(batch.key[order]) != 0)]  # the earliest of each key
        names = map(batch.keys.__getitem__, batch.key[heads].tolist())
        first = np.fromiter(map(self._first.get, names, repeat(_NEVER_SENT)), np.int64, len(heads))
        dropped = np.ones(len(batch.time), np.bool_)
        dropped[heads[batch.time[heads] < first]] = False
        return batch.without(dropped)

    def sent(self, batch: LeafBatch) -> None:
        """Remember the rows of a batch that will be delivered before anything else is routed."""
        if len(self._first) + len(batch.time) > KEYS:
            self._first.clear()
        for key, time in zip(batch.key.tolist(), batch.time.tolist(), strict=True):
            name = batch.keys[key]
            self._first[name] = min(time, self._first.get(name, _NEVER_SENT))
