"""JSON values of what databases hold: what ``EventRow.payload`` has of a value of a driver.

Exact where JSON can be: a decimal that is a whole number is an int, any other the nearest float. Times are
ISO 8601 text, bytes base64 text, sets sorted lists; a number that is none (NaN, infinity) is null, anything
else its text.
"""

from __future__ import annotations

import math
from base64 import b64encode
from collections.abc import Mapping, Set as AnySet
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

from pydantic_core import from_json


def json_value(value: Any) -> Any:
    """A value as JSON has it."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Decimal):
        if not value.is_finite():
            return None
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, Mapping):
        return {str(name): json_value(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [json_value(one) for one in value]
    if isinstance(value, AnySet):
        return sorted((json_value(one) for one in value), key=repr)
    if isinstance(value, date | datetime | time):
        return value.isoformat()
    if isinstance(value, bytes | bytearray | memoryview) or hasattr(value, "__bytes__"):
        return b64encode(bytes(value)).decode()
    return str(value)


def payload_of(value: Any) -> Mapping[str, Any]:
    """The payload of an event that is stored as one value: an object, or the text of one; anything else is
    shown as ``{"payload": …}``.
    """
    if isinstance(value, str):
        try:
            found = from_json(value, allow_inf_nan=False)  # of JSON there is nothing to convert
        except ValueError:
            found = value
    else:
        found = json_value(value)
    return found if isinstance(found, dict) else {"payload": found}


def unquoted(said: Any) -> Any:
    """JSON as text, of which a text that is in quotes is taken out: a payload may be in it."""
    return from_json(said) if isinstance(said, str) and said.startswith('"') else said
