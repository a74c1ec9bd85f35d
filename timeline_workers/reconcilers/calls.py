"""Calls of a reconciler, and what becomes of them: what goes to an activity, and what comes back.

Instants and durations are microseconds. Values and caches are JSON, as they were made from what the user
declares, so that they can be shown and do not depend on the code that is installed.
"""

from __future__ import annotations

from typing import Any, Literal as Choice, TypeAlias

import msgspec

from timeline_workers.columns.key_table import Key
from timeline_workers.errors import StateError

Ending: TypeAlias = Choice["done", "again", "retry_after", "failed", "stalled", "cut_off"]
"""How a call ended: it succeeded; it did and wants to be called ``again``; it failed, and says after which
time to try again; it failed; it failed and trying again is of no use; it was cancelled, as nobody could say
any more that no other call began."""


class State(msgspec.Struct, frozen=True, array_like=True):
    """A state that is desired, or was: ``value`` holds from ``since`` until ``until`` (None: it is not known,
    or for ever); ``final``: no event changes that any more. Of two the one with the greater ``stamp`` counts.
    """

    value: Any
    since: int | None = None
    until: int | None = None
    final: bool = False
    stamp: int = 0


class Call(msgspec.Struct, frozen=True, array_like=True):
    """A call to be made: for ``key``, whose desired state is ``desired``; None: of a finalizer of one that
    never had any. ``cache``: what the call before left; ``finalize``: the key leaves. ``token``: greater than
    that of every earlier call of the key."""

    key: Key
    desired: State | None
    cache: bytes | None
    token: int
    attempt: int
    finalize: bool = False


class Outcome(msgspec.Struct, frozen=True, array_like=True):
    """What became of the call with ``token``. ``cache``: the cache from now on, None: as it was; ``after``:
    in which time the next call is wanted; ``error``: what went wrong, for people."""

    key: Key
    token: int
    ending: Ending
    cache: bytes | None = None
    after: int = 0
    error: str = ""


class Batch(msgspec.Struct, frozen=True, array_like=True):
    """Calls that are made by one activity, ``parallel`` of them at a time."""

    number: int
    calls: list[Call]
    parallel: int


_BATCH = msgspec.msgpack.Decoder(Batch)
_OUTCOMES = msgspec.msgpack.Decoder(list[Outcome])


def pack_batch(batch: Batch) -> bytes:
    """Encode; ``unpack_batch`` reads it."""
    return msgspec.msgpack.encode(batch)


def unpack_batch(packed: bytes) -> Batch:
    """Reverse ``pack_batch``. Raises StateError for other bytes."""
    try:
        return _BATCH.decode(packed)
    except msgspec.MsgspecError as error:
        raise StateError(f"{len(packed)} bytes are no calls of a reconciler: {error}") from error


def pack_outcomes(outcomes: list[Outcome]) -> bytes:
    """Encode; ``unpack_outcomes`` reads it."""
    return msgspec.msgpack.encode(outcomes)


def unpack_outcomes(packed: bytes) -> list[Outcome]:
    """Reverse ``pack_outcomes``. Raises StateError for other bytes."""
    try:
        return _OUTCOMES.decode(packed)
    except msgspec.MsgspecError as error:
        raise StateError(f"{len(packed)} bytes are no outcomes of a reconciler: {error}") from error
