"""The messages of a run, drawn from the seed: sessions of a player, untidy in every way that the semantics
speak of.

Sessions begin one after another, a few hundred at a time, so that event time moves on. Among their events
are: disorder within the allowed lateness, events that are late for one metric and not for another, copies
(two messages, hence two events), several at one instant, pairs exactly at and one microsecond below a
watermark, keys that are ints, columns of a wrong type, and messages that are no events at all.
"""

from __future__ import annotations

import heapq
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.chaos.metrics import LATENESS, LONG_LATENESS

EPOCH = 1_700_000_000
EVENTS_PER_SESSION = 60
CONCURRENT = 300
GAP = 8.0  # mean seconds between two events of a session
END = b"this message ends the run"
ENDS = 256  # enough keys that every partition of a topic gets some


@dataclass(frozen=True, slots=True, order=True)
class Message:
    """``key``: the broker's message key. ``at``: the event time at which it is sent, seconds."""

    at: float
    number: int
    key: str
    payload: bytes


_STATES = ("play", "buffer", "pause", "play", "buffer", "error", "init")
_CDNS = ("CDN1", "CDN2", "CDN3")


def traffic(seed: int, count: int, later: float = 0.0) -> Iterator[Message]:
    """``count`` messages in the order to send them; the same arguments give the same messages.

    ``later``: their event times are so many seconds later than those of another run's.
    """
    rng = random.Random(f"traffic {seed}")
    held: list[Message] = []
    given = number = 0

    def put(at: float, key: object, payload: bytes) -> None:
        nonlocal number
        number += 1
        heapq.heappush(held, Message(at, number, str(key), payload))

    for time, key, columns in _sessions(rng, EPOCH + later):
        while held and held[0].at <= time:
            yield heapq.heappop(held)
            given += 1
            if given == count:
                return
        payload = _encode(key, time, columns)
        put(time + _delay(rng), key, payload)
        chance = rng.random()
        if chance < 0.01:
            put(time + rng.uniform(0, 20), key, payload)
        elif chance < 0.017:
            put(time, key, _bad(rng, key, time))
        elif chance < 0.020:
            # The first leads its partition unless another one does by then; the other two lie exactly at the
            # watermark that it sets, and just below.
            leading = round(time + 3, 3)
            put(time, key, _encode(key, leading, {"userAction": "seek"}))
            lateness = rng.choice((LATENESS, LONG_LATENESS))
            put(time, key, _encode(key, leading - lateness, {"playerStateChange": "buffer"}))
            below = f"{round(leading * 1e6) - lateness * 1_000_000 - 1:d}"
            put(time, key, _written(key, f"{below[:-6]}.{below[-6:]}", {"playerStateChange": "error"}))


def still(seed: int, count: int, later: float) -> Iterator[Message]:
    """``count`` fine events in hardly more than an instant of event time, ``later`` seconds after the first
    events of a run: they make no event of another stream late.
    """
    rng = random.Random(f"still {seed}")
    for number in range(count):
        key = f"still-{seed}-{number % CONCURRENT}"
        time = round(EPOCH + later + number * 0.0001, 4)
        yield Message(time, number, key, _encode(key, time, _columns(rng, number // CONCURRENT)))


def ends() -> list[Message]:
    """Messages that are no events, some for each partition of a topic, to be sent last."""
    return [Message(0.0, i, f"end-{i}", END) for i in range(ENDS)]


def span(count: int) -> float:
    """About how many seconds of event time ``count`` messages cover."""
    return count * GAP / CONCURRENT


def _name(session: int) -> str | int:
    return session if session % 50 == 7 else f"s{session:06d}"


def _sessions(rng: random.Random, epoch: float) -> Iterator[tuple[float, str | int, dict[str, Any]]]:
    """(time, key, columns) in order of time, without end."""
    queue: list[tuple[float, int, int]] = []
    for session in range(CONCURRENT):
        heapq.heappush(queue, (epoch + rng.uniform(0, EVENTS_PER_SESSION * GAP), session, 0))
    begun = CONCURRENT
    while True:
        time, session, step = heapq.heappop(queue)
        columns = _columns(rng, step)
        yield round(time, 3), _name(session), columns
        if step == EVENTS_PER_SESSION - 1:
            heapq.heappush(queue, (time + rng.expovariate(1 / GAP), begun, 0))
            begun += 1
        else:
            same_instant = rng.random() < 0.02
            gap = 0.0 if same_instant else round(rng.expovariate(1 / GAP), 3)
            heapq.heappush(queue, (round(time, 3) + gap, session, step + 1))


def _columns(rng: random.Random, step: int) -> dict[str, Any]:
    if step == 0:
        return {"playerStateChange": "init", "cdnChange": rng.choice(_CDNS), "bitrate": 375}
    match rng.randrange(10):
        case 0 | 1 | 2 | 3 | 4:
            return {"playerStateChange": rng.choice(_STATES)}
        case 5 | 6:
            return {"userAction": rng.choice(("seek", "seek", "pause"))}
        case 7:
            return {"cdnChange": rng.choice(_CDNS)}
        case 8:
            return {"bitrate": rng.choice((235, 1_750, 5_800)), "playerStateChange": None}
        case _:
            return {"playerStateChange": "buffer", "userAction": "seek", "unused": "é" * rng.randrange(3)}


def _delay(rng: random.Random) -> float:
    chance = rng.random()
    if chance < 0.70:
        return rng.uniform(0, 1)
    if chance < 0.95:
        return rng.uniform(0, 0.8 * LATENESS)
    if chance < 0.98:
        return rng.uniform(0.9 * LATENESS, 1.1 * LATENESS)
    return rng.uniform(1.5 * LATENESS, 1.5 * LONG_LATENESS)


def _encode(key: str | int, time: float, columns: dict[str, Any]) -> bytes:
    return _written(key, json.dumps(time), columns)


def _written(key: str | int, time: str, columns: dict[str, Any]) -> bytes:
    rest = json.dumps(columns, ensure_ascii=False)[1:]
    return f'{{"session_id": {json.dumps(key)}, "timestamp": {time}, {rest}'.encode()


def _bad(rng: random.Random, key: str | int, time: float) -> bytes:
    good = _encode(key, time, {"playerStateChange": "play"})
    named = json.dumps(key).encode()
    return rng.choice(
        (
            b"",
            b"{not JSON",
            good[:-1],
            good + b"\xff",
            b"[1, 2]",
            _written(key, "NaN", {"userAction": "seek"}),
            b'{"timestamp": %d}' % time,
            b'{"session_id": "", "timestamp": %d}' % time,
            b'{"session_id": 1.5, "timestamp": %d}' % time,
            b'{"session_id": 9223372036854775808, "timestamp": %d}' % time,
            b'{"session_id": %s}' % named,
            b'{"session_id": %s, "timestamp": "noon"}' % named,
            b'{"session_id": %s, "timestamp": 1e300}' % named,
            _written(key, "7258118400", {"userAction": "seek"}),  # the year 2200
            _encode(key, time, {"playerStateChange": 5}),
            _encode(key, time, {"cdnChange": True}),
            _encode(key, time, {"bitrate": "fast"}),  # only some metrics declare this column
            _encode(key, time, {"bitrate": 2.5}),
            _encode(key, time, {"bitrate": 2**70}),
        )
    )
