"""Events of the generators, ready to send."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

encode = msgspec.json.Encoder().encode


class Event(NamedTuple):
    """``key``: the Pulsar message key; ``time``: event time in seconds; ``payload``: the event as JSON."""

    key: str
    time: float
    payload: bytes
