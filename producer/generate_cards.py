"""Card transactions, with a few cards that are used where their holders cannot be, or for far more than
usual.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import asin, cos, radians, sin, sqrt

import numpy as np

from .event import Event, encode
from .generate_playback import EPOCH

# Name, latitude and longitude in degrees.
_CITIES = (
    ("Lisbon", 38.72, -9.14),
    ("London", 51.51, -0.13),
    ("Nairobi", -1.29, 36.82),
    ("Mumbai", 19.08, 72.88),
    ("Osaka", 34.69, 135.5),
    ("Lima", -12.05, -77.04),
)
_MERCHANTS = ("grocer", "fuel", "books", "rail", "cafe", "pharmacy")
OUTLIER_SHARE = 0.05
_EARTH_KM = 6_371.0


def cards(count: int = 20, events: int = 400, *, seed: int = 0, start: float = EPOCH) -> Iterator[Event]:
    """``events`` transactions of ``count`` cards in order of event time.

    Fields: ``card``, ``timestamp`` (whole seconds), ``amount``, ``merchant``, ``city``, ``lat_long``
    (as in ``"38.72,-9.14"``) and, from a card's second transaction on, ``km`` and ``hours`` since the one
    before. About one card in twenty (at least one) jumps to a far city and spends a lot, once, within a
    minute of its transaction before.
    """
    count = min(count, events)
    if count < 1:
        return
    rng = np.random.default_rng(seed)
    card = np.sort(rng.integers(0, count, events))
    gaps = rng.exponential(1_800.0, events) + 61
    begins = np.searchsorted(card, np.arange(count))
    outliers = set(rng.choice(count, max(1, int(count * OUTLIER_SHARE)), replace=False).tolist())
    jumps = {int(begins[c]) + 1 for c in outliers if c + 1 >= count or begins[c] + 1 < begins[c + 1]}
    made: list[tuple[int, int, bool]] = []
    clock, before = 0.0, -1
    for i, holder in enumerate(card.tolist()):
        # A day after a jump, so that the card's coming home is no jump again.
        gap = 30.0 if i in jumps else gaps[i] + (86_400 if i - 1 in jumps else 0)
        clock = clock + gap if holder == before else start + gaps[i]
        before = holder
        made.append((int(clock), holder, i in jumps))
    last: dict[str, tuple[int, tuple[str, float, float]]] = {}
    amounts = np.round(rng.gamma(2.0, 20.0, events) + 1, 2).tolist()
    merchants = rng.integers(0, len(_MERCHANTS), events).tolist()
    for i in np.argsort([time for time, _, _ in made], kind="stable").tolist():
        time, holder, is_jump = made[i]
        home = _CITIES[(holder + (3 if is_jump else 0)) % len(_CITIES)]
        key = f"card-{holder:04d}"
        event: dict[str, str | int | float] = {
            "card": key,
            "timestamp": time,
            "amount": round(amounts[i] + (2_500 if is_jump else 0), 2),
            "merchant": _MERCHANTS[merchants[i]],
            "city": home[0],
            "lat_long": f"{home[1]},{home[2]}",
        }
        if key in last:
            then, there = last[key]
            event["km"] = round(_distance(there, home))
            event["hours"] = round((time - then) / 3_600, 4)
        last[key] = (time, home)
        yield Event(key, time, encode(event))


def _distance(a: tuple[str, float, float], b: tuple[str, float, float]) -> float:
    """Kilometres along the great circle (haversine)."""
    (_, lat_a, long_a), (_, lat_b, long_b) = a, b
    north, east = radians(lat_b - lat_a) / 2, radians(long_b - long_a) / 2
    chord = sin(north) ** 2 + cos(radians(lat_a)) * cos(radians(lat_b)) * sin(east) ** 2
    return 2 * _EARTH_KM * asin(sqrt(chord))
