"""Views of rules' workers: their episodes and their last messages, as plain JSON. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from timeline_workers.columns.key_table import Key
from timeline_workers.errors import StateError

from .alert_state import AlertState
from .episodes import Episode, Message
from .true_spans import OPEN

MOST_EPISODES = 2_000


class Told(msgspec.Struct, frozen=True):
    """A message, and ``at`` which instant it was recorded, microseconds."""

    at: int
    message: Message


class ShownEpisode(msgspec.Struct, frozen=True):
    """An episode as it was told last. ``end``: None while it goes on; ``seq``: messages so far; ``paged``:
    when somebody was woken last, ``heard``: somebody was told of it. Microseconds.
    """

    key: Key
    id: str
    start: int
    end: int | None
    seq: int
    heard: bool
    paged: int | None


class RuleView(msgspec.Struct, frozen=True):
    """``episodes``: those that are told and not forgotten, those that go on first, of ``many``; ``recent``:
    the last messages, oldest first; ``clock``: up to when the source is known to have been read; ``silent``:
    why nothing is told now, "" where that is not so. Microseconds.
    """

    episodes: list[ShownEpisode]
    many: int
    recent: list[Told]
    as_of: int | None
    watermark: int | None
    clock: int | None
    next_change: int | None
    silent: str

    def as_json(self) -> dict[str, Any]:
        """As plain JSON; ``read_view`` reads it."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain


def rule_view(state: AlertState, recent: Iterable[Told], clock: int | None, silent: str | None) -> RuleView:
    """What is shown of ``state``."""
    told = sorted(state.firing(), key=lambda pair: (pair[1].end != OPEN, pair[1].start))
    return RuleView(
        [_shown(key, one) for key, one in told[:MOST_EPISODES]],
        len(told),
        list(recent),
        state.as_of,
        state.watermark,
        clock,
        state.next_change(),
        silent or "",
    )


def read_view(plain: object) -> RuleView:
    """Reverse ``RuleView.as_json``. Raises StateError for anything else."""
    try:
        return msgspec.convert(plain, RuleView)
    except msgspec.ValidationError as error:
        raise StateError(f"it is nothing that the worker of a rule shows: {error}") from error


def pack_told(told: Iterable[Told]) -> bytes:
    """Encode; ``unpack_told`` reads it."""
    return msgspec.msgpack.encode(list(told))


def unpack_told(packed: bytes) -> list[Told]:
    """Reverse ``pack_told``. Raises StateError for other bytes."""
    try:
        return msgspec.msgpack.decode(packed, type=list[Told])
    except msgspec.MsgspecError as error:
        raise StateError(f"{len(packed)} bytes are no messages of an alert: {error}") from error


def _shown(key: Key, one: Episode) -> ShownEpisode:
    end = None if one.end == OPEN else one.end
    return ShownEpisode(key, one.id, one.start, end, one.seq, one.heard, one.paged)
