"""Messages of a changelog topic: what an output publishes of a node's revisions, and reading it back.

A *change* says what a key's timeline is on ``[from, until)``, and replaces whatever was said of that span
under a smaller revision::

    {"metric": "cirr", "key": "s1", "from": 10, "until": 14, "value": 0, "slope": 1, "final": true,
     "revision": 1764525600000003, "kind": "numeric", "before": 0}

``from`` null is before all time, ``until`` null for ever. With ``withdrawn`` instead of a value, what was
said of the span is taken back: what held just before it goes on, and where there was nothing, there is
nothing. A Numeric whose value or slope is no decimal fraction has both as fractions in ``exact``.

``kind``: by which ``changelog(...)`` it is read, so that what is made of it is computed as the writer would;
``before``: what a Numeric is without any event, which is what it is before the origin: a number, a fraction
as text, or null. Messages of release 0.5.0 have neither.

A *watermark* says how far one writer, of ``partitions``, is: nothing below it will change::

    {"metric": "cirr", "partition": "p0", "partitions": 1, "watermark": 20, "revision": 1764525600000004}

Messages about an aggregate have a group as ``key``, which may also be null, a bool or a float, and name the
``function``, and all ``functions`` where there are several.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from typing import Any, cast

from timeline_workers.algebra.nodes.group_names import group_of_key
from timeline_workers.columns.key_table import Key
from timeline_workers.columns.values import INT64_MAX, INT64_MIN, Flags, Linear, Scalar, Values
from timeline_workers.errors import EventError
from timeline_workers.events.times import from_microseconds, to_microseconds
from timeline_workers.language.lexicon import CHANGELOG_KINDS

from .edge_messages import BEGINNING
from .news import News

MILLION = 1_000_000
# More digits are written by nobody, and Fraction itself would read 1e999999999 and compute with it.
_FRACTION = re.compile(r"-?[0-9]{1,1000}(?:/[0-9]{1,1000})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Writer:
    """Who writes a changelog: ``metric``, one of whose ``partitions`` workers, ``partition``, is told. Times
    are in ``unit``; ``numeric``: values have a slope. ``function``: one of the ``functions`` of an aggregate.
    ``kind``, ``before``: see above; ``kind`` "": of neither is anything said.
    """

    metric: str
    partition: str
    partitions: int
    unit: str
    numeric: bool
    function: str = ""
    functions: tuple[str, ...] = ()
    kind: str = ""
    before: int | float | Fraction | None = None

    def fields(self) -> dict[str, Any]:
        """What every message says of its writer."""
        said: dict[str, Any] = {"metric": self.metric}
        if self.function:
            said["function"] = self.function
        if len(self.functions) > 1:
            said["functions"] = list(self.functions)
        return said

    def kind_fields(self) -> dict[str, Any]:
        """What a change says of the timeline that it is of."""
        if not self.kind:
            return {}
        if not self.numeric:
            return {"kind": self.kind}
        shown = _number(self.before) if isinstance(self.before, Fraction) else self.before
        is_shown = not isinstance(self.before, Fraction) or decimal(shown) == self.before
        return {"kind": self.kind, "before": shown if is_shown else str(self.before)}


@dataclass(frozen=True, slots=True)
class ToPublish:
    """One message: ``key``, as text, is None for a watermark, which everybody must hear; ``properties``: what
    is said of it beside ``body``.
    """

    key: str | None
    revision: int
    body: bytes
    properties: Mapping[str, str] = field(default_factory=dict)


def messages(news: News, writer: Writer, first: int) -> Iterator[ToPublish]:
    """The messages that say ``news``, in order, with the revisions from ``first`` on."""
    revision, about = first, writer.kind_fields()
    for row, name in enumerate(news.keys):
        key = group_of_key(name) if writer.function else name
        text = key if isinstance(key, str) else json.dumps(key)
        low, high = int(news.suffix.offsets[row]), int(news.suffix.offsets[row + 1])
        starts = news.suffix.starts[low:high].tolist()
        since = int(news.froms[row])
        spans: list[tuple[int, int | None, dict[str, Any]]] = []
        if not starts or starts[0] > since:
            spans.append((since, starts[0] if starts else None, {"withdrawn": True}))
        for place, (start, until) in enumerate(pairwise([*starts, None])):
            spans.append((start, until, _value_fields(news.suffix.values, low + place, writer.numeric)))
        for start, until, said in spans:
            final = until is not None and news.watermark is not None and until <= news.watermark
            yield ToPublish(
                text,
                revision,
                _json(
                    {
                        **writer.fields(),
                        "key": key,
                        "from": None if start <= BEGINNING else from_microseconds(start, writer.unit),
                        "until": None if until is None else from_microseconds(until, writer.unit),
                        **said,
                        "final": final,
                        "revision": revision,
                        **about,
                    }
                ),
            )
            revision += 1
    if news.risen and news.watermark is not None:
        yield ToPublish(
            None,
            revision,
            _json(
                {
                    **writer.fields(),
                    "partition": writer.partition,
                    "partitions": writer.partitions,
                    "watermark": from_microseconds(news.watermark, writer.unit),
                    "revision": revision,
                }
            ),
        )


def _json(message: dict[str, Any]) -> bytes:
    return json.dumps(message, ensure_ascii=False, allow_nan=False).encode("utf-8", "surrogatepass")


def _value_fields(values: Values, row: int, numeric: bool) -> dict[str, Any]:
    if isinstance(values, Flags):
        return {"value": bool(values.data[row])}
    if not isinstance(values, Linear):
        found = values.item(row)
        return {"value": found, **({"slope": None if found is None else 0} if numeric else {})}
    if not values.known[row]:
        return {"value": None, "slope": None}
    value, slope = _rational(values.num[row]) / MILLION, _rational(values.slope[row])
    shown = {"value": _number(value), "slope": _number(slope)}
    if (decimal(shown["value"]), decimal(shown["slope"])) == (value, slope):
        return shown
    return {**shown, "exact": {"value": str(value), "slope": str(slope)}}


def _rational(number: Any) -> Fraction:
    return number if isinstance(number, Fraction) else Fraction(int(number))


def _number(exact: Fraction) -> int | float | None:
    if exact.denominator == 1 and INT64_MIN <= exact.numerator <= INT64_MAX:
        return exact.numerator
    try:
        return exact.numerator / exact.denominator
    except OverflowError:
        return None


def decimal(value: int | float | None) -> Fraction | None:
    """A number as it is written: 0.1 is one tenth."""
    return None if value is None else Fraction(repr(value)) if isinstance(value, float) else Fraction(value)


@dataclass(frozen=True, slots=True)
class Change:
    """On ``[since, until)``, microseconds (None: without end on that side), the timeline of ``key`` is
    ``value``; with a ``slope`` it is a Numeric's. ``withdrawn``: nothing is said of the span any more.
    ``function``: the aggregate function that it is about, whose group is named ``key`` (``key_of_group``).
    ``kind``: "" where it is not said; ``before``: what the timeline is without any event.
    """

    key: Key
    since: int | None
    until: int | None
    revision: int
    value: Scalar | Fraction | None = None
    slope: Fraction | None = None
    withdrawn: bool = False
    function: str | None = None
    kind: str = ""
    before: Scalar | Fraction | None = None


@dataclass(frozen=True, slots=True)
class Mark:
    """How far the writer of ``partition``, one of ``partitions`` of ``metric``, is; microseconds."""

    metric: str
    partition: str
    partitions: int
    watermark: int
    revision: int
    function: str | None = None


def read_message(
    body: bytes | str | Mapping[str, Any], unit: str, function: str | None = None
) -> Change | Mark | None:
    """Read one message of a changelog, as JSON or read from it; None for one that is about another than the
    wanted ``function`` of an aggregate.

    Raises EventError (``malformed-json``, ``bad-changelog``, and those of ``to_microseconds``).
    """
    try:
        message = json.loads(body) if isinstance(body, bytes | str) else dict(body)
    except (ValueError, RecursionError) as error:
        raise EventError("malformed-json", f"the message is not JSON: {error}") from None
    if not isinstance(message, dict):
        raise EventError("malformed-json", f"the message is no object: {message!r:.60}")
    if "revision" not in message:
        raise EventError(
            "bad-changelog",
            "the message has no revision, as each of an output's topic has; to read events, leave "
            "'changelog' out of the source",
        )
    revision = message["revision"]
    if type(revision) is not int or not 0 <= revision <= INT64_MAX:
        raise _bad("revision", revision, "is not a whole number of 64 bits")
    told = _function(message, function)
    if function is not None and told != function:
        return None
    if "watermark" in message:
        return _mark(message, revision, unit, told)
    key = _key(message, told)
    since, until = (
        None if message.get(name) is None else to_microseconds(message[name], unit)
        for name in ("from", "until")
    )
    if since is not None and until is not None and until <= since:
        raise _bad("until", message["until"], f"is not after from, {message['from']!r}")
    kind, before = _kind(message), _before(message)
    if message.get("withdrawn") is True:
        return Change(key, since, until, revision, None, None, True, told, kind, before)
    if "value" not in message:
        raise EventError("bad-changelog", "the message has neither value, withdrawn nor watermark")
    if since is None:
        raise _bad("from", None, "is wanted where there is a value")
    value, slope = _value(message)
    return Change(key, since, until, revision, value, slope, False, told, kind, before)


def _kind(message: dict[str, Any]) -> str:
    kind = message.get("kind", "")
    if kind != "" and kind not in CHANGELOG_KINDS:
        raise _bad("kind", kind, f"is none of {', '.join(CHANGELOG_KINDS)}")
    return str(kind)


def _before(message: dict[str, Any]) -> Scalar | Fraction | None:
    before = message.get("before")
    if isinstance(before, str):
        return _fraction(before, "before")
    if before is not None and type(before) not in (int, float):
        raise _bad("before", before, "is neither a number, a fraction such as 1/3, nor null")
    return cast(Scalar | None, _in_range("before", before))


def _function(message: dict[str, Any], wanted: str | None) -> str | None:
    """The function that ``message`` is about; None where it is about no aggregate."""
    told, functions = message.get("function"), message.get("functions")
    if not isinstance(told, str | None):
        raise _bad("function", told, "is no name of a function")
    if told is None and wanted is not None:
        raise EventError(
            "bad-changelog",
            f"the message is about no aggregate, and {wanted} of one is wanted; write 'changelog: true'",
        )
    if wanted is None and isinstance(functions, list) and len(functions) > 1:
        known = ", ".join(map(str, functions))
        raise EventError(
            "bad-changelog",
            f"the topic has several functions of an aggregate, {known:.60}; say in the source which is read, "
            f"such as 'changelog: {functions[0]!s:.20}'",
        )
    return told


def _key(message: dict[str, Any], function: str | None) -> Key:
    key = message.get("key")
    if isinstance(key, int) and not INT64_MIN <= key <= INT64_MAX:
        raise _bad("key", key, "does not fit 64 bits")
    if function is not None and "key" in message and isinstance(key, str | int | float | None):
        if isinstance(key, float) and not math.isfinite(key):
            raise _bad("key", key, "is no number of JSON")
        return key_of_group(key)
    if isinstance(key, bool) or not isinstance(key, str | int):
        raise _bad("key", key, "is neither text nor a whole number")
    return key


_SHOWN_GROUP = re.compile(r"\(+(null|true|false|-?[0-9][0-9.e+-]*)\)+", re.ASCII)


def key_of_group(group: Scalar | None) -> Key:
    """The key that a group of an aggregate is to a metric that reads the changelog: one that can be typed.

    Texts and whole numbers are themselves; others are written as in JSON, in parentheses: ``(null)``,
    ``(true)``, ``(0.5)``. A text that looks like one of these gets parentheses more.
    """
    if isinstance(group, str):
        return f"({group})" if _SHOWN_GROUP.fullmatch(group) else group
    if isinstance(group, int) and not isinstance(group, bool):
        return group
    return f"({json.dumps(group)})"


def _value(message: dict[str, Any]) -> tuple[Scalar | Fraction | None, Fraction | None]:
    value, slope = message["value"], message.get("slope")
    if type(value) not in (bool, int, float, str, type(None)):
        raise _bad("value", value, "is neither true, false, a number, text nor null")
    _in_range("value", value)
    exact = message.get("exact")
    if isinstance(exact, dict):  # also where a number is too large for a float, and null beside it
        return _fraction(exact.get("value")), _fraction(exact.get("slope"))
    if value is None or slope is None:
        return value, None
    if type(slope) not in (int, float):
        raise _bad("slope", slope, "is no number")
    if type(value) not in (int, float):
        raise _bad("value", value, "has a slope and is no number")
    return value, decimal(_in_range("slope", slope))


def _fraction(text: object, field: str = "exact") -> Fraction:
    if isinstance(text, str) and _FRACTION.fullmatch(text):
        with suppress(ZeroDivisionError):
            return Fraction(text)
    raise _bad(field, text, "is no fraction such as 1/3, of 1,000 digits at most on each side")


def _in_range(field: str, value: Any) -> Any:
    """``value``, if 64 bits or a float can hold it: Python reads NaN and 1e400 from JSON, too."""
    if isinstance(value, int) and not INT64_MIN <= value <= INT64_MAX:
        raise _bad(field, value, "does not fit 64 bits; a number as large is a text in exact, or a float")
    if isinstance(value, float) and not math.isfinite(value):
        raise _bad(field, value, "is no number of JSON")
    return value


def _mark(message: dict[str, Any], revision: int, unit: str, function: str | None) -> Mark:
    metric, partition, partitions = (message.get(name) for name in ("metric", "partition", "partitions"))
    if not isinstance(metric, str) or not isinstance(partition, str):
        raise _bad("partition", partition, "does not say, with metric, whose watermark this is")
    if type(partitions) is not int or partitions < 1:
        raise _bad("partitions", partitions, "is not a number of partitions")
    return Mark(
        metric, partition, partitions, to_microseconds(message["watermark"], unit), revision, function
    )


def _bad(field: str, value: object, rule: str) -> EventError:
    return EventError("bad-changelog", f"{field}: {value!r:.60} {rule}")
