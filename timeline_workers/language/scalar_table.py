"""The table of scalar functions: what ``where`` and ``derive`` of streams may call on an event's columns.

A function over something missing is missing, but for ``if`` and ``coalesce``. A new one is a row here, and a
kernel in ``timeline_workers.streams.scalar_kernels``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal as Choice, TypeAlias

from .kinds import ValueType

Taken: TypeAlias = Choice["bool", "number", "string", "any", "same"]
"""What an argument may be; ``same``: of the type of the first argument that is ``same``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalarFunction:
    """A function of values.

    ``takes``: its arguments, of which the last ``optional`` ones may be left out, and the last one may be
    ``repeated``; ``constants``: those that have to be constants; ``gives``: the type of the result, ``same``:
    that of the arguments.
    """

    name: str
    takes: tuple[Taken, ...]
    optional: int = 0
    repeated: bool = False
    constants: tuple[int, ...] = ()
    gives: ValueType | Choice["same"]
    doc: str


def _row(
    name: str,
    takes: str,
    gives: ValueType | Choice["same"],
    doc: str,
    *,
    optional: int = 0,
    repeated: bool = False,
    constants: tuple[int, ...] = (),
) -> ScalarFunction:
    return ScalarFunction(
        name=name,
        takes=tuple(takes.split()),  # type: ignore[arg-type]
        optional=optional,
        repeated=repeated,
        constants=constants,
        gives=gives,
        doc=doc,
    )


_ROWS = (
    _row("abs", "number", "number", "`abs(x)`: the absolute value"),
    _row(
        "round",
        "number number",
        "number",
        "`round(x)`, `round(x, n)`: to n digits (0 to 15) of the exact value of x, halves to the even digit",
        optional=1,
        constants=(1,),
    ),
    _row("floor", "number", "number", "`floor(x)`: the greatest whole number that is not above x"),
    _row("ceil", "number", "number", "`ceil(x)`: the least whole number that is not below x"),
    _row("min", "number number", "number", "`min(x, y, …)`: the least", repeated=True),
    _row("max", "number number", "number", "`max(x, y, …)`: the greatest", repeated=True),
    _row("clamp", "number number number", "number", "`clamp(x, lo, hi)`: `min(max(x, lo), hi)`"),
    _row("if", "bool same same", "same", "`if(c, x, y)`: x where c holds, else y"),
    _row(
        "coalesce", "same same", "same", "`coalesce(x, y, …)`: the first that is not missing", repeated=True
    ),
    _row("upper", "string", "string", "`upper(s)`: in capital letters"),
    _row("lower", "string", "string", "`lower(s)`: in small letters"),
    _row("trim", "string", "string", "`trim(s)`: without white space at both ends"),
    _row("len", "string", "number", "`len(s)`: the number of characters"),
    _row("contains", "string string", "bool", "`contains(s, part)`: whether part is somewhere in s"),
    _row("starts_with", "string string", "bool", "`starts_with(s, part)`: whether s begins with part"),
    _row("ends_with", "string string", "bool", "`ends_with(s, part)`: whether s ends with part"),
    _row(
        "matches",
        "string string",
        "bool",
        '`matches(s, "re")`: whether the regular expression is found in s; of RE2, so in linear time',
        constants=(1,),
    ),
    _row(
        "split",
        "string string number",
        "string",
        '`split(s, ",", n)`: the n-th part, from 1, or from the end with -1; missing where there is none',
        constants=(1, 2),
    ),
    _row(
        "concat",
        "any any",
        "string",
        "`concat(x, y, …)`: one text of all; numbers as they are written in JSON",
        repeated=True,
    ),
    _row("hash", "any", "number", "`hash(x, …)`: an int of 63 bits, the same everywhere", repeated=True),
    _row("bucket", "any number", "number", "`bucket(x, n)`: `hash(x)` modulo n", constants=(1,)),
    _row(
        "hour_of_day",
        "string",
        "number",
        '`hour_of_day()`, `hour_of_day("Europe/Berlin")`: 0 to 23, of the event\'s time in UTC or that zone',
        optional=1,
        constants=(0,),
    ),
    _row(
        "day_of_week",
        "string",
        "number",
        "`day_of_week()`, likewise: 1 (Monday) to 7",
        optional=1,
        constants=(0,),
    ),
    _row(
        "distance",
        "number number number number",
        "number",
        "`distance(lat1, lon1, lat2, lon2)`: metres on a sphere of 6,371,008.8 m; missing where no place is",
    ),
)

SCALARS: dict[str, ScalarFunction] = {row.name: row for row in _ROWS}
"""All scalar functions by name."""

AMONG = "in"
"""``x in [a, b]`` as a ``tree.Call``: no function that is written as one."""
