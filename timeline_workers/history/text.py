"""Keys and values as text: what every store writes them as, so that all sort and compare them alike.

JSON for scalars, so that ``1``, ``1.0``, ``true`` and ``"1"`` stay different; an exact number that is no
int is a fraction, ``5/2``, which is no JSON. Both ways are exact. Raises StateError for text that is neither.
"""

from __future__ import annotations

import json
from fractions import Fraction
from functools import lru_cache
from typing import cast

from timeline_workers.errors import StateError

from .model import Group, Value


def key_text(key: Group) -> str:
    """A key or group as text, one text for each."""
    text = json.dumps(key, ensure_ascii=False, allow_nan=False)
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, in the key of an event that is refused for it
        return json.dumps(key)
    return text


@lru_cache(1 << 16)
def key_of(text: str) -> Group:
    """Reverse ``key_text``."""
    found = value_of(text)
    if isinstance(found, Fraction):
        raise StateError(f"{text!r:.200} is no key; a key is JSON text")
    return found


def value_text(value: Value) -> str:
    """A value as text. A Fraction that is a whole number is written, and read, as one of denominator 1."""
    if isinstance(value, Fraction):
        return f"{value.numerator}/{value.denominator}"
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def value_of(text: str) -> Value:
    """Reverse ``value_text``."""
    try:
        if "/" in text and not text.startswith('"'):
            numerator, _, denominator = text.partition("/")
            return Fraction(int(numerator), int(denominator))
        found = json.loads(text)
    except (ValueError, ZeroDivisionError, RecursionError) as error:
        raise StateError(f"{text!r:.200} is no value of a piece: {error}") from None
    if not isinstance(found, bool | int | float | str | None):
        raise StateError(f"{text!r:.200} is no value of a piece; it is JSON of one scalar, or a fraction")
    return cast(Value, found)


def words(said: str) -> str | None:
    """Words for people as every store takes them; None for none."""
    return said.encode(errors="backslashreplace").decode().replace("\x00", "\\x00") if said else None


def slope_text(slope: Fraction | None) -> str | None:
    """A slope as text: a whole number or a fraction; None stays None."""
    return None if slope is None else str(slope)


def slope_of(text: str | None) -> Fraction | None:
    """Reverse ``slope_text``."""
    try:
        return None if text is None else Fraction(text)
    except (ValueError, ZeroDivisionError) as error:
        raise StateError(f"{text!r:.200} is no slope: {error}") from None
