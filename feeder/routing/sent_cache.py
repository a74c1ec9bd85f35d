"""A cache of what leaves have been sent, so that it is not sent again.

A key that a batch has no rows of, for some leaf, matters to it only when its origin is news, when the leaf
has not been told of the key yet, or of a later origin; and where idle keys leave, as a sign that it is not
idle, every now and then. And a leaf of ``has_existed`` needs each key's earliest match and no other
(``earliest_suffices``): it is True from there on, for ever. What was sent is remembered, for a bounded number
of keys; forgetting it costs names and rows sent in vain, nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from timeline_workers.algebra.leaf_input import LeafBatch, LeafRouter
from timeline_workers.columns.key_table import Key, KeyTable
from timeline_workers.columns.values import Int64
from timeline_workers.language.operator_table import earliest_suffices

KEYS = 500_000
SIGNS = 8  # of life, in the time after which a key that gives none may leave
_AFTER_ALL = 2**63 - 1


class KeyNumbers:
    """Numbers the keys of a topic, and the partition label of each, as they come up.

    ``label``: of a key.
    """

    def __init__(self, label: Callable[[Key], str]) -> None:
        self._label = label
        self._table = KeyTable()
        self._labels = KeyTable()
        self._label_of = np.zeros(0, np.int32)

    @property
    def full(self) -> bool:
        """Whether it should be given up for a new one before more keys are numbered."""
        return len(self._table) > KEYS

    def of(self, keys: Sequence[Key]) -> Int64:
        """The numbers of ``keys``."""
        return self._table.intern_all(keys)

    def labels(self, numbers: Int64) -> NDArray[np.int32]:
        """A number for the label of each key in ``numbers``: equal for equal labels."""
        new = self._table.names[len(self._label_of) :]
        if new:
            found = np.fromiter((self._labels.intern(self._label(key)) for key in new), np.int32, len(new))
            self._label_of = np.append(self._label_of, found)
        return self._label_of[numbers]


class SentCache:
    """What one leaf, of all partitions, was told of keys by their numbers.

    ``key_ttl``: in microseconds, after which idle keys leave the leaf; None: never.
    """

    def __init__(self, leaf: LeafRouter, key_ttl: int | None = None) -> None:
        self._earliest_only = earliest_suffices(leaf.leaf)
        self._pause = None if key_ttl is None else key_ttl // SIGNS
        self._origins = np.zeros(0, np.int64)
        self._first = np.zeros(0, np.int64)  # the earliest row sent, where no other is needed
        self._heard = np.zeros(0, np.int64)  # when there was the last sign of life, where keys leave

    def needed(self, batch: LeafBatch, numbers: Int64) -> tuple[LeafBatch, Int64]:
        """What the leaf needs of ``batch``, whose keys have these ``numbers``, and the numbers of the keys
        that it still names.

        Where a key has rows and the leaf knows of an origin as early, some instant between that and the key's
        first event here takes its place: one for as many keys as can be, which compresses well. Call ``sent``
        with what is returned once it has been given to somebody who will deliver it before anything else is
        routed.
        """
        self._hold(numbers)
        if self._earliest_only:
            batch = self._earliest(batch, numbers)
        told = self._origins[numbers]
        named = batch.origins < told
        if self._pause is not None:
            named |= batch.origins - self._pause >= self._heard[numbers]
        known = np.zeros(len(numbers), np.bool_)
        known[batch.key] = True
        named |= known
        known &= told <= batch.origins
        chosen = np.flatnonzero(named)
        origins = batch.origins[chosen]
        if known.any():
            replaced = known[chosen]
            origins[replaced] = np.minimum(origins[replaced], told[known].max())
        if len(chosen) == len(numbers):
            return replace(batch, origins=origins), numbers
        places = np.cumsum(named) - 1
        keys = [batch.keys[place] for place in chosen.tolist()]
        return replace(batch, keys=keys, origins=origins, key=places[batch.key]), numbers[chosen]

    def _earliest(self, batch: LeafBatch, numbers: Int64) -> LeafBatch:
        """Only those rows that come before everything that their key was sent, one a key."""
        if not len(batch.time):
            return batch
        order = np.lexsort((batch.time, batch.key))
        heads = order[np.append(True, np.diff(batch.key[order]) != 0)]
        dropped = np.ones(len(batch.time), np.bool_)
        dropped[heads[batch.time[heads] < self._first[numbers[batch.key[heads]]]]] = False
        return batch.without(dropped)

    def sent(self, batch: LeafBatch, numbers: Int64) -> None:
        """Remember what ``needed`` has returned."""
        self._origins[numbers] = np.minimum(self._origins[numbers], batch.origins)
        if self._earliest_only:
            self._first[numbers[batch.key]] = batch.time  # earlier than what was sent, and one a key
        if self._pause is not None:
            self._heard[numbers] = np.maximum(self._heard[numbers], batch.origins)
            np.maximum.at(self._heard, numbers[batch.key], batch.time)

    def _hold(self, numbers: Int64) -> None:
        """Have room for all ``numbers``."""
        more = int(numbers.max(initial=-1)) + 1 - len(self._origins)
        if more <= 0:
            return
        more = max(more, len(self._origins))
        self._origins = np.append(self._origins, np.full(more, _AFTER_ALL, np.int64))
        if self._earliest_only:
            self._first = np.append(self._first, np.full(more, _AFTER_ALL, np.int64))
        if self._pause is not None:
            self._heard = np.append(self._heard, np.full(more, -_AFTER_ALL, np.int64))
