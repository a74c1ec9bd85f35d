"""Changing what is valid into what nearly is: bytes, text, and plain data."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

_ODD_INTS = (
    0,
    1,
    -1,
    127,
    255,
    2**16,
    2**31,
    2**32,
    2**53 + 1,
    2**63 - 1,
    2**63,
    -(2**63),
    -(2**63) - 1,
    10**30,
)
_ODD_FLOATS = (0.0, -0.0, 0.1, 1e308, 5e-324, 1e400, float("nan"), -1.5)
_ODD_TEXT = ("", "a", "\x00", "é", "𝄞", "\ud800", "null", "1", "a.b", "x" * 300, "\u2028", '"', "\\")


def flip(rng: Random, data: bytes) -> bytes:
    """One to three bits, bytes or stretches of ``data`` are other than they were."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        at = rng.randrange(len(changed) + 1)
        kind = rng.randrange(6)
        if kind == 0 and at < len(changed):
            changed[at] ^= 1 << rng.randrange(8)
        elif kind == 1 and at < len(changed):
            changed[at] = rng.randrange(256)
        elif kind == 2:
            del changed[at : at + rng.choice((1, 1, 2, 8, 100))]
        elif kind == 3:
            changed[at:at] = rng.randbytes(rng.choice((1, 1, 4, 30)))
        elif kind == 4:
            start = rng.randrange(len(changed) + 1)
            changed[at:at] = changed[start : start + rng.randrange(1, 20)]
        else:
            changed[at : at + 8] = rng.choice(_ODD_INTS[:10]).to_bytes(9, "little", signed=True)[:8]
    return bytes(changed)


def text(rng: Random, valid: str, words: Sequence[str]) -> str:
    """``valid`` with pieces removed, repeated, exchanged, or others of ``words`` put in."""
    for _ in range(rng.choice((1, 1, 2, 4))):
        at, to = sorted((rng.randrange(len(valid) + 1), rng.randrange(len(valid) + 1)))
        kind = rng.randrange(6)
        if kind == 0:
            valid = valid[:at] + valid[at + rng.choice((1, 1, 3, 12)) :]
        elif kind == 1:
            valid = valid[:at] + rng.choice(words) + valid[at:]
        elif kind == 2:
            valid = valid[:at] + rng.choice(words) + valid[at + rng.choice((1, 2, 6)) :]
        elif kind == 3 and to - at < 200:
            valid = valid[:to] + valid[at:to] * rng.choice((1, 1, 2)) + valid[to:]
        elif kind == 4:
            valid = (
                valid[:at]
                + chr(rng.choice((0, 9, 10, 34, 96, 0xE9, 0x661, 0xD800, 0x1F600, rng.randrange(0x3000))))
                + valid[at:]
            )
        else:
            valid = valid[:at] + valid[to:] + valid[at:to]
    return valid


def scalar(rng: Random) -> Any:
    """None, a bool, int, float or string, often an awkward one."""
    kind = rng.randrange(7)
    if kind == 0:
        return None
    if kind == 1:
        return rng.random() < 0.5
    if kind == 2:
        return rng.choice(_ODD_INTS)
    if kind == 3:
        return rng.randrange(-1000, 1000)
    if kind == 4:
        return rng.choice(_ODD_FLOATS)
    if kind == 5:
        return rng.choice(_ODD_TEXT)
    return "".join(rng.choices("abcdefgh12 .-_", k=rng.randrange(12)))


def value(rng: Random, depth: int = 3) -> Any:
    """Any plain value: a scalar, or lists and maps of some."""
    if depth == 0 or rng.random() < 0.6:
        return scalar(rng)
    if rng.random() < 0.5:
        return [value(rng, depth - 1) for _ in range(rng.randrange(4))]
    return {str(scalar(rng)): value(rng, depth - 1) for _ in range(rng.randrange(4))}


def inside(rng: Random, data: Any) -> Any:
    """A copy of ``data`` (maps, lists and scalars) in which one value, somewhere, is another."""
    if isinstance(data, dict) and data and rng.random() < 0.95:
        chosen = rng.choice(list(data))
        if rng.random() < 0.08:
            return {name: held for name, held in data.items() if name != chosen}
        return {name: inside(rng, held) if name == chosen else held for name, held in data.items()}
    if isinstance(data, list | tuple) and data and rng.random() < 0.9:
        at = rng.randrange(len(data))
        copied = list(data)
        kind = rng.random()
        if kind < 0.1:
            del copied[at]
        elif kind < 0.2:
            copied.insert(at, copied[rng.randrange(len(copied))])
        else:
            copied[at] = inside(rng, copied[at])
        return copied
    if isinstance(data, bytes):
        return flip(rng, data)
    if type(data) is int and rng.random() < 0.7:
        return rng.choice((data + 1, data - 1, -data, data * 256, rng.choice(_ODD_INTS[:12])))
    return value(rng)
