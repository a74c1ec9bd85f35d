"""Playback events: a plain sample of whole events, and realistic sessions with a player that changes state.

A session starts (init), plays, and then plays, buffers, pauses and seeks until the viewer stops. Buffering
follows a seek (short, the viewer's doing) or bad connectivity (longer, sometimes cured by another CDN).
Times are spread so that all sessions overlap. Everything follows from the seed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .event import Event, encode

# 2023-01-01T00:00:00Z, the start of the sample's timestamps.
EPOCH = 1_672_531_200

_DEVICES = (
    {"device": "mobile", "os": "android", "browser": "chrome", "location": "US"},
    {"device": "mobile", "os": "ios", "browser": "safari", "location": "GB"},
    {"device": "desktop", "os": "windows", "browser": "edge", "location": "DE"},
    {"device": "tv", "os": "tizen", "browser": "none", "location": "IN"},
)
_VIDEOS = tuple(f"video-{i:03d}" for i in range(40))
_CDNS = ("CDN1", "CDN2", "CDN3")
_BITRATES = (235, 375, 750, 1_750, 3_000, 5_800)


def sample(sessions: int = 3, start: int = EPOCH) -> Iterator[Event]:
    """A few whole events in the form ``{"event": "play", "timestamp": …, "playback_session_id": …, …}``."""
    script = (
        ("init", 0),
        ("play", 2),
        ("buffer", 10),
        ("seek", 14),
        ("play", 22),
        ("pause", 25),
        ("play", 40),
    )
    events = [
        (start + session + offset, session, name) for session in range(sessions) for name, offset in script
    ]
    for time, session, name in sorted(events):
        key = f"session-{session:04d}"
        event = {
            "event": name,
            "timestamp": time,
            "playback_session_id": key,
            "video": _VIDEOS[session % len(_VIDEOS)],
            "duration": 60,
            "attributes": _DEVICES[session % len(_DEVICES)],
        }
        yield Event(key, time, encode(event))


# States of the player: what may follow, with which chance, after how many seconds on average.
_STATES: dict[str, tuple[tuple[str, float, float], ...]] = {
    "init": (("play", 0.97, 2.0), ("error", 0.03, 2.0)),
    "play": (("buffer", 0.34, 40.0), ("seek", 0.24, 35.0), ("pause", 0.22, 50.0), ("bitrate", 0.2, 25.0)),
    "buffer": (("play", 0.8, 3.5), ("cdn", 0.15, 6.0), ("error", 0.05, 9.0)),
    "seek": (("buffer", 1.0, 0.2),),
    "cdn": (("play", 1.0, 1.5),),
    "bitrate": (("buffer", 0.2, 4.0), ("pause", 0.2, 40.0), ("seek", 0.2, 30.0), ("bitrate", 0.4, 20.0)),
    "pause": (("play", 0.9, 20.0), ("seek", 0.1, 8.0)),
    "error": (("init", 1.0, 5.0),),
}
_NAMES = tuple(_STATES)


def _table() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    width = max(len(v) for v in _STATES.values())
    nexts = np.zeros((len(_NAMES), width), np.int64)
    bounds = np.ones((len(_NAMES), width))
    means = np.ones((len(_NAMES), width))
    for i, choices in enumerate(_STATES.values()):
        total = 0.0
        for j in range(width):
            name, chance, mean = choices[min(j, len(choices) - 1)]
            total = min(1.0, total + chance) if j < len(choices) else 1.0
            nexts[i, j], bounds[i, j], means[i, j] = _NAMES.index(name), total, mean
    return nexts, bounds, means


def sessions(
    count: int = 100, events: int = 2_000, *, seed: int = 0, start: float = EPOCH
) -> Iterator[Event]:
    """``events`` events of ``count`` sessions in order of event time, starting at ``start`` seconds.

    Fields: ``session_id``, ``timestamp`` (seconds, milliseconds exact) and one of ``playerStateChange``
    (init, play, buffer, pause, error, stopped), ``userAction`` (seek, pause), ``cdnChange`` and ``bitrate``
    (kbit/s). The first event also has ``video``, ``cdn`` and ``attributes``. Every session ends in
    ``stopped`` when it has at least two events.
    """
    count = min(count, events)
    if count < 1:
        return
    rng = np.random.default_rng(seed)
    length = np.full(count, events // count)
    length[: events - int(length.sum())] += 1
    steps = int(length.max())
    nexts, bounds, means = _table()
    state = np.zeros((count, steps), np.int64)
    gaps = np.zeros((count, steps))
    gaps[:, 0] = rng.uniform(0, 60.0, count)
    for step in range(1, steps):
        was = state[:, step - 1]
        choice = (rng.random(count)[:, None] >= bounds[was]).sum(axis=1)
        state[:, step] = nexts[was, choice]
        gaps[:, step] = rng.exponential(means[was, choice]) + 0.001
    times = np.round((start + np.cumsum(gaps, axis=1)) * 1000).astype(np.int64)
    session, place = np.nonzero(np.arange(steps)[None, :] < length[:, None])
    order = np.argsort(times[session, place], kind="stable")
    session, place = session[order], place[order]
    at, kind = times[session, place], state[session, place]
    first, last = place == 0, (place == length[session] - 1) & (place > 0)
    pick = rng.integers(0, 2**31, len(session))
    keys = [f"session-{i:06d}" for i in range(count)]
    names = _NAMES
    rows = zip(
        session.tolist(),
        at.tolist(),
        kind.tolist(),
        first.tolist(),
        last.tolist(),
        pick.tolist(),
        strict=True,
    )
    for number, milliseconds, code, is_first, is_last, random in rows:
        time = milliseconds / 1000
        event: dict[str, Any] = {"session_id": keys[number], "timestamp": time}
        name = names[code]
        if is_last:
            event["playerStateChange"] = "stopped"
        elif name == "seek":
            event["userAction"] = "seek"
        elif name == "cdn":
            event["cdnChange"] = _CDNS[random % 3]
        elif name == "bitrate":
            event["bitrate"] = _BITRATES[random % 6]
        else:
            event["playerStateChange"] = name
            if name == "pause":
                event["userAction"] = "pause"
        if is_first:
            event["video"] = _VIDEOS[random % len(_VIDEOS)]
            event["cdnChange"] = _CDNS[random % 3]
            event["attributes"] = _DEVICES[random % len(_DEVICES)]
        yield Event(keys[number], time, encode(event))
