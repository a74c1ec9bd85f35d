"""``Order``: what the worker of a reconciler is told by people and programs, beside the states it hears."""

from __future__ import annotations

from typing import Any, Literal as Choice, TypeAlias

import msgspec

from timeline_workers.columns.key_table import Key
from timeline_workers.errors import StateError

Word: TypeAlias = Choice[
    "notify", "matter", "observe", "leave", "pause", "resume", "retry", "end", "gone", "configure"
]
"""``notify``: a key's state is ``value``; ``matter``: call a key though nothing has changed; ``observe``: its
cache is ``value``, JSON; ``leave``: forget it; ``pause``, ``resume``, ``retry``: as said, of a key, or all
(None); ``end``: forget all, and end; ``gone``: what it follows is deleted: forget all; ``configure``: its
spec is ``value``, JSON."""


class Order(msgspec.Struct, frozen=True, array_like=True):
    """``force``: of ``leave`` and ``end``, without finalizers. ``stamp``: of ``notify``; None: that of when
    it comes."""

    word: Word
    key: Key | None = None
    value: Any = None
    stamp: int | None = None
    force: bool = False


_ORDER = msgspec.msgpack.Decoder(Order)


def pack_order(order: Order) -> bytes:
    """Encode; ``unpack_order`` reads it. Raises TypeError for a value that is no plain JSON."""
    return msgspec.msgpack.encode(order)


def unpack_order(packed: bytes) -> Order:
    """Reverse ``pack_order``. Raises StateError for other bytes."""
    try:
        return _ORDER.decode(packed)
    except msgspec.MsgspecError as error:
        raise StateError(f"{len(packed)} bytes are no order for a reconciler: {error}") from error
