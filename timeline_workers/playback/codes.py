"""Codes of the protocol ``timeline.dvr.v1``: why a request was refused, and why a socket was closed.

Words of messages may change between releases, codes do not.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum

from timeline_workers.errors import TimelineError


class DvrCode(StrEnum):
    """What is wrong with a request, or with what it asks for."""

    BAD_MESSAGE = "bad-message"
    UNKNOWN_ACTION = "unknown-action"
    BAD_TIME = "bad-time"
    BAD_RANGE = "bad-range"
    BAD_SPEED = "bad-speed"
    BAD_FLAG = "bad-flag"
    BAD_ACK = "bad-ack"
    NOT_PLAYING = "not-playing"
    UNKNOWN_CHANNEL = "unknown-channel"
    UNKNOWN_METRIC = "unknown-metric"
    UNKNOWN_KEY = "unknown-key"
    BAD_EXPRESSION = "bad-expression"  # with the span of the mistake
    NOT_KEPT = "not-kept"
    TOO_MANY = "too-many"
    OVERLOADED = "overloaded"
    STORE_DOWN = "store-down"


class CloseCode(IntEnum):
    """Why the server closes a socket."""

    NOT_JSON = 1003
    TOO_LONG = 1009
    RESTART = 1012
    NO_TOKEN = 4401
    FOREIGN_ORIGIN = 4403
    NOT_ACKNOWLEDGED = 4408
    TOO_MANY_SOCKETS = 4429


class RefusedRequest(TimelineError):
    """A request, or a read for it, is refused: ``reason`` says why, ``str(error)`` the value, rule and fix.

    ``field``: of the request; ``hint``: the nearest known name, or what else may help; ``span``: the
    half-open range of characters of a wrong expression; ``reply``: the ``id`` of the request, if it had one.
    """

    def __init__(
        self,
        reason: DvrCode,
        message: str,
        *,
        field: str | None = None,
        hint: str | None = None,
        span: tuple[int, int] | None = None,
        reply: int | str | None = None,
    ) -> None:
        self.reason = reason
        self.field = field
        self.hint = hint
        self.span = span
        self.reply = reply
        super().__init__(message)
