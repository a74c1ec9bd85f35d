"""Published values: one value of a timeline as JSON, exact, as leaf batches, edges and states carry it.

A Fraction is ``["/", "1/3"]``; all else is itself. As text, "" is a value that is not known.
"""

from __future__ import annotations

import json
import re
from fractions import Fraction
from typing import Any

from timeline_workers.errors import StateError

Published = bool | int | float | str | Fraction | None

# Fraction itself would read 1e999999999, and take a gigabyte for it.
_EXACT = re.compile(r"-?[0-9]{1,4300}(?:/[0-9]{1,4300})?", re.ASCII)
_LONGEST = 10_000


def packed(value: Published) -> Any:
    """``value`` as plain JSON."""
    return ["/", str(value)] if isinstance(value, Fraction) else value


def unpacked(value: Any) -> Published:
    """Reverse ``packed``. Raises StateError for what is none."""
    if isinstance(value, list):
        if len(value) != 2 or not isinstance(value[1], str) or not _EXACT.fullmatch(value[1]):
            raise StateError(f"{value!r:.80} is no exact number")
        return Fraction(value[1])
    if not isinstance(value, bool | int | float | str | None):
        raise StateError(f"{value!r:.80} is no value of a timeline")
    return value


def text_of(value: Published) -> str:
    """``value`` as text; "" where it is None."""
    return "" if value is None else json.dumps(packed(value))


def value_of(text: str) -> Published:
    """Reverse ``text_of``. Raises StateError for another text."""
    if not text:
        return None
    try:
        return unpacked(json.loads(text[:_LONGEST]))
    except (ValueError, ZeroDivisionError, RecursionError) as error:
        raise StateError(f"{text!r:.80} is no value of a timeline: {error}") from error


def published(text: object) -> str:
    """``text``, which was written elsewhere. Raises StateError unless ``value_of`` reads it."""
    if not isinstance(text, str):
        raise StateError(f"{text!r:.80} is no value of a timeline")
    value_of(text)
    return text
