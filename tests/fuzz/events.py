"""Fuzzing the decoder of events: each is accepted with exactly the values that the standard library reads, or
refused with one of the documented reasons; and every one is accounted for.
"""

from __future__ import annotations

import json
from collections import Counter
from random import Random
from typing import Any

import numpy as np

from tests.fuzz import mutate
from tests.fuzz.findings import FOUND, Finding, Report, judged
from timeline_workers.columns.event_batch import Positions
from timeline_workers.errors import EventError
from timeline_workers.events.decode import Decoder
from timeline_workers.events.times import to_microseconds
from timeline_workers.metric.model import ColumnSpec

REASONS = frozenset(
    {
        *("malformed-json", "too-large", "missing-key", "wrong-key-type", "missing-time", "bad-time"),
        *("wrong-type", "int-out-of-range", "not-finite"),
    }
)
_COLUMNS = {
    "state": ColumnSpec(type="string"),
    "n": ColumnSpec(type="int", path="a.n"),
    "x": ColumnSpec(type="float"),
    "flag": ColumnSpec(type="bool"),
    "any": None,
}
_TYPES: dict[str, tuple[type, ...]] = {"state": (str,), "n": (int,), "x": (int, float), "flag": (bool,)}
_UNITS = ("s", "ms", "us", "ns", "iso")
_TYPES["q"] = (int, float)
_TIMES = (
    0,
    1,
    20.5,
    1_700_000_000,
    1_700_000_000_000,
    1e9,
    "2024-05-01T10:00:00Z",
    "2024-05-01",
    -5,
    1e300,
    2**62,
)
_NAMES = ("id", "t", "state", "a", "a.n", "x", "flag", "any", "q", "unused")
_PIECES = (
    b'"',
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b",",
    b"null",
    b"NaN",
    b"1e999",
    b"-0",
    b"\\ud800",
    b"\\u0000",
    b"\xff",
)


def _decoder(unit: str) -> Decoder:
    # A new one for each batch: what it has met before decides what it reads at once.
    return Decoder(
        key="id", time="t", time_unit=unit, columns=_COLUMNS, requirements={"q": "number"}, many=64
    )


def _event(rng: Random) -> dict[str, Any]:
    made: dict[str, Any] = {"id": rng.choice(("s1", "s2", 7)), "t": rng.choice(_TIMES)}
    for name in rng.sample(_NAMES[2:], rng.randrange(4)):
        usual: dict[str, Any] = {"state": "play", "a": {"n": 5}, "a.n": 6, "x": 1.5, "flag": True}
        made[name] = usual.get(name, 1) if rng.random() < 0.6 else mutate.value(rng)
    if rng.random() < 0.2:
        made[rng.choice(_NAMES)] = mutate.value(rng)
    return made


def _payload(rng: Random) -> bytes | str | dict[str, Any]:
    kind = rng.randrange(20)
    if kind == 0:
        return rng.randbytes(rng.randrange(60))
    if kind == 1:
        return rng.choice((b"", b" ", b"{}", b"[]", b"null", b"1", b'"x"', b"\xef\xbb\xbf{}", b"{" * 3_000))
    if kind == 2:
        deep = rng.choice((100, 900, 1_200, 20_000))
        return b'{"id":"s","t":1,"unused":' + b"[" * deep + b"]" * deep + b"}"
    if kind == 3:
        long = rng.choice((1_024, 1_025, 65_536, 65_537, 1 << 20))
        return b'{"id":"%s","t":1,"state":"%s"}' % (b"k" * min(long, 1_025), b"x" * long)
    event = _event(rng)
    if kind == 4:
        return event
    written = json.dumps(event, ensure_ascii=rng.random() < 0.7)
    if kind == 5:
        return written
    data = written.encode(errors="surrogatepass")
    if kind < 11:
        data = mutate.flip(rng, data)
    elif kind < 13:
        at = rng.randrange(len(data) + 1)
        data = data[:at] + rng.choice(_PIECES) + data[at:]
    elif kind == 13:
        again = json.dumps(_event(rng)).encode()
        data = data[:-1] + b"," + again[1:]  # fields given twice
    return data


def _alike(rng: Random, count: int) -> list[Any]:
    data = json.dumps(_event(rng)).encode()
    return [mutate.flip(rng, data) if rng.random() < 0.2 else data for _ in range(count)]


def _read(payload: bytes | str | dict[str, Any]) -> dict[str, Any] | None:
    """The event as the standard library reads it; None when it is no JSON object."""
    if isinstance(payload, dict):
        return payload
    text = payload.decode() if isinstance(payload, bytes) else payload

    def refuse(name: str) -> Any:
        raise ValueError(name)

    event = json.loads(text, parse_constant=refuse)
    return event if isinstance(event, dict) else None


def _at(event: dict[str, Any], path: str) -> Any:
    if path in event:
        return event[path]
    head, dot, rest = path.partition(".")
    inner = event.get(head)
    return _at(inner, rest) if dot and isinstance(inner, dict) else None


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and (one == other or (one != one and other != other))


def _expected(event: dict[str, Any], unit: str) -> tuple[Any, int, dict[str, Any]] | None:
    """Key, time and columns, when the event is valid by a plain reading of the rules; None when it is not."""
    key = event.get("id")
    if type(key) is str:
        if not key or len(key.encode(errors="surrogatepass")) > 1_024 or _half(key):
            return None
    elif type(key) is not int or not -(2**63) <= key < 2**63:
        return None
    try:
        time = to_microseconds(event.get("t"), unit)
    except EventError:
        return None
    columns = {}
    for name in (*_COLUMNS, "q"):
        spec = _COLUMNS.get(name)
        value = _at(event, spec.path if spec is not None and spec.path else name)
        if value is not None and type(value) not in _TYPES.get(name, (bool, int, float, str)):
            return None
        if type(value) is int and not -(2**63) <= value < 2**63:
            return None
        if type(value) is float and not abs(value) < float("inf"):
            return None
        if type(value) is str and (len(value.encode(errors="surrogatepass")) > 65_536 or _half(value)):
            return None
        columns[name] = float(value) + 0.0 if name == "x" and value is not None else value
        if type(value) is float:
            columns[name] = value + 0.0  # there is one zero
    return key, time, columns


def _half(text: str) -> bool:
    return any("\ud800" <= c <= "\udfff" for c in text)


def _judge(
    payload: Any, accepted: tuple[Any, int, dict[str, Any]] | None, reason: str | None, unit: str
) -> str:
    try:
        event = _read(payload)
    except RecursionError:
        event = None
    except ValueError:
        event = None
    expected = None
    size = (
        len(payload if isinstance(payload, bytes) else payload.encode(errors="surrogatepass"))
        if not isinstance(payload, dict)
        else 0
    )
    if event is not None and size <= 1 << 20:
        expected = _expected(event, unit)
    if accepted is None:
        if reason not in REASONS:
            raise Finding(payload, f"refused with the reason {reason!r}")
        if expected is not None and not _half(str(payload)) and "\\ud" not in str(payload).lower():
            raise Finding(payload, f"refused as {reason}, but it is valid ({unit})")
        return f"refused: {reason}"
    if expected is None:
        raise Finding(payload, f"accepted as {accepted}, but it is not valid ({unit})")
    for got, want in zip(
        (accepted[0], accepted[1], *accepted[2].values()),
        (expected[0], expected[1], *expected[2].values()),
        strict=True,
    ):
        if not _same(got, want):
            raise Finding(payload, f"accepted as {accepted}, but the library reads {expected}")
    return "accepted"


def run(rng: Random, count: int, report: Report) -> Counter[str]:
    """See ``findings.Target``; many events go into one call, as in the feeder."""
    outcomes: Counter[str] = Counter()
    while count > 0:
        unit = rng.choice(_UNITS)
        payloads = [_payload(rng) for _ in range(min(count, rng.choice((1, 3, 40, 200))))]
        if len(payloads) == 200:  # one form over and over, which is read at once, with odd ones between
            alike = _alike(rng, 200)
            odd = [isinstance(payload, bytes) and rng.random() < 0.3 for payload in payloads]
            payloads = [one if keep else other for one, other, keep in zip(payloads, alike, odd, strict=True)]
        count -= len(payloads)
        try:
            outcomes += _decode(payloads, unit, report)
        except Finding as finding:
            report(finding)
            outcomes[FOUND] += len(payloads)
    return outcomes


def _decode(payloads: list[Any], unit: str, report: Report) -> Counter[str]:
    try:
        decoded = _decoder(unit).decode(payloads, Positions.in_input(0, len(payloads)))
    except Exception as error:
        raise Finding(payloads, f"decode raises {error!r}") from error
    reasons = {reject.row: reject.reason for reject in decoded.rejects}
    if sorted([*reasons, *decoded.rows.tolist()]) != list(range(len(payloads))):
        raise Finding(payloads, f"rows {decoded.rows.tolist()} are accepted, and {sorted(reasons)} refused")
    batch = decoded.batch
    place = {row: i for i, row in enumerate(decoded.rows.tolist())}
    if not np.array_equal(batch.position.minor, decoded.rows):
        raise Finding(payloads, "positions are not those of the rows")
    outcomes: Counter[str] = Counter()
    for row, payload in enumerate(payloads):
        accepted = None
        if (i := place.get(row)) is not None:
            columns = {name: batch.columns[name].item(i) for name in (*_COLUMNS, "q")}
            accepted = (batch.keys[int(batch.key[i])], int(batch.time[i]), columns)
        outcomes[judged(report, _judge, payload, accepted, reasons.get(row), unit)] += 1
    return outcomes
