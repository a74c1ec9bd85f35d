"""Events in, columns out: JSON payloads and parsed mappings; tables are read in ``frames``.

The common event, a small JSON object that breaks no rule, is parsed by msgspec into the few fields asked for
and never touched again in Python. What it refuses is read a second time by the standard library, field by
field, to say what is wrong. Of many events, those that are alike are not even parsed one by one (``bulk``).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

import msgspec
import numpy as np

from timeline_workers.columns.event_batch import Positions
from timeline_workers.columns.values import Int64
from timeline_workers.errors import EventError
from timeline_workers.language.check import Alike
from timeline_workers.metric.model import ColumnSpec, Source

from .bulk import MANY, PIECE, Gathered, Templates
from .lines import Lines
from .not_json import DEEP, not_an_object, not_json
from .paths import Shape
from .raw import HugeInt, RawColumn
from .rules import Decoded, Limits, Refusals, Reject, Requirement, Rules

Payload = bytes | str | Mapping[str, Any]


class Decoder:
    """Decodes the events of one source.

    ``key``, ``time``: dotted paths; ``columns``: declared columns (None: of any type), or just names;
    ``requirements``, ``alike``: what an expression needs of undeclared columns. Every column given is
    validated in every event, whether the expression uses it or not; what does not fit refuses the event, or
    counts as missing where the column is declared so. ``many``: from how many texts on it is worth looking
    for those that are alike.

    Guarantees: every event given is either in the batch or in the rejects, whatever bytes it is made of;
    values keep their types (an int of more than 64 bits is refused, never turned into a float; a column
    declared float takes ints, a column declared int takes no ``1.0``); unknown fields are ignored.
    """

    def __init__(
        self,
        *,
        key: str,
        time: str,
        time_unit: str = "s",
        columns: Mapping[str, ColumnSpec | None] | Iterable[str] = (),
        requirements: Mapping[str, Requirement] | None = None,
        alike: Sequence[Alike] = (),
        limits: Limits | None = None,
        many: int = MANY,
    ) -> None:
        declared = columns if isinstance(columns, Mapping) else dict.fromkeys(columns)
        self.key = key
        self.time = time
        self.limits = limits or Limits()
        self._many_are = max(many, 1)
        self.rules = Rules(time_unit, declared, requirements or {}, alike, self.limits, key=key, time=time)
        self.paths = {
            name: spec.path if (spec := declared.get(name)) and spec.path else name
            for name in self.rules.columns
        }
        self._shape = Shape([key, time, *self.paths.values()])
        self._parse = msgspec.json.Decoder(self._shape.struct).decode
        self._all_paths = tuple(dict.fromkeys([key, time, *self.paths.values()]))
        self.templates = Templates(self._shape, self._all_paths)

    @staticmethod
    def for_source(
        source: Source,
        *,
        only: Iterable[str] | None = None,
        requirements: Mapping[str, Requirement] | None = None,
        alike: Sequence[Alike] = (),
        limits: Limits | None = None,
    ) -> Decoder:
        """The decoder of a declared source. ``only``: the columns to decode, all declared ones by default."""
        names = source.columns if only is None else only
        return Decoder(
            key=source.key,
            time=source.time,
            time_unit=source.time_unit,
            columns={name: source.columns.get(name) for name in names},
            requirements=requirements,
            alike=alike,
            limits=limits,
        )

    def decode(
        self,
        payloads: Sequence[Payload],
        positions: Positions,
        publish_times: Int64 | None = None,
        max_ahead: int | None = None,
    ) -> Decoded:
        """Decode JSON texts or parsed mappings, one per position.

        ``publish_times`` (microseconds) and ``max_ahead`` together bound how far ahead a time may lie.
        """
        refusals: Refusals = {}
        if len(payloads) >= self._many_are and set(map(type, payloads)) == {bytes}:
            found = self._many(cast(Sequence[bytes], payloads), refusals)
        else:
            found = self._read_columns(self._each(payloads, range(len(payloads)), refusals))
        key, time = found[self.key], found[self.time]
        columns = {name: found[path] for name, path in self.paths.items()}
        applied = self.rules.apply(
            key, time, columns, positions, refusals, publish_times=publish_times, max_ahead=max_ahead
        )
        rejects = [Reject(row, *refusals[row], payloads[row]) for row in sorted(refusals)]
        return Decoded.of(applied, rejects)

    def _each(self, payloads: Sequence[Payload], rows: Iterable[int], refusals: Refusals) -> list[Any]:
        """Parse ``payloads``, which are the events ``rows``, one by one."""
        records: list[Any] = []
        add = records.append
        parse: Callable[[bytes], Any] = self._parse
        limit = self.limits.event_bytes
        for row, payload in zip(rows, payloads, strict=True):
            try:
                if type(payload) is bytes and len(payload) <= limit and payload.isascii():
                    add(parse(payload))
                else:
                    add(self._read(payload))
            except (msgspec.DecodeError, UnicodeError, RecursionError, EventError) as error:
                add(self._read_again(row, payload, error, refusals))
        return records

    def _read_columns(self, records: list[Any]) -> dict[str, RawColumn]:
        return {path: RawColumn.of(self._shape.read(path, records)) for path in self._all_paths}

    def _many(self, payloads: Sequence[bytes], refusals: Refusals) -> dict[str, RawColumn]:
        """Read texts by templates, and those that fit none by themselves."""
        gathered = Gathered(len(payloads), self._all_paths)
        left = []
        for first in range(0, len(payloads), PIECE):
            piece = payloads[first : first + PIECE]
            if not self.templates.promise():
                left.append(np.arange(first, first + len(piece)))
                continue
            lines = Lines.of(piece)
            usable = lines.texts() & (np.diff(lines.bounds) <= self.limits.event_bytes)
            fitted, unfit = self.templates.fit(lines, np.flatnonzero(usable))
            for fitting in fitted:
                gathered.take(fitting, first)
            if not usable.all():
                unfit = np.union1d(unfit, np.flatnonzero(~usable))
            left.append(unfit + first)
        rest = np.concatenate(left)
        others = rest.tolist()
        records = self._each([payloads[row] for row in others], others, refusals)
        if len(records) == len(payloads):
            return self._read_columns(records)
        found = gathered.columns(self._shape, rest, records)

        def value_at(path: str) -> Callable[[int], Any]:
            def value(row: int) -> Any:
                place = int(np.searchsorted(rest, row))
                apart = place < len(rest) and rest[place] == row
                record = records[place] if apart else self._parse(payloads[row])
                return self._shape.read(path, [record])[0]

            return value

        for path, column in found.items():
            column.value = value_at(path)
        return found

    def _read(self, payload: Payload) -> Any:
        if isinstance(payload, Mapping):
            return self._shape.of(payload)
        if not isinstance(payload, bytes | bytearray | memoryview | str):
            raise EventError("malformed-json", not_an_object(payload))
        data = payload.encode() if isinstance(payload, str) else bytes(payload)
        if len(data) > self.limits.event_bytes:
            message = f"the event has {len(data):,} bytes; the limit is {self.limits.event_bytes:,}"
            raise EventError("too-large", message)
        data.decode()  # fields that are skipped must be text, too
        return self._parse(data)

    def _read_again(self, row: int, payload: Payload, error: Exception, refusals: Refusals) -> Any:
        """Say why a payload was refused, or read what msgspec could not type, for the rules to refuse."""
        try:
            if isinstance(error, EventError):
                raise error
            if isinstance(error, UnicodeError):
                raise EventError("malformed-json", f"the event is not UTF-8 text: {error}")
            if isinstance(error, RecursionError) or isinstance(payload, Mapping):
                raise EventError("malformed-json", DEEP)
            text = payload if isinstance(payload, str) else bytes(payload).decode()
            if not isinstance(error, msgspec.ValidationError):
                raise EventError("malformed-json", not_json(text, error))
            event = json.loads(text, parse_int=_parse_int, parse_constant=_refuse_constant)
            if not isinstance(event, dict):
                raise EventError("malformed-json", not_an_object(event))
            return self._shape.of(event)
        except EventError as refusal:
            refusals[row] = (refusal.reason, str(refusal))
        except RecursionError:
            refusals[row] = ("malformed-json", DEEP)
        except ValueError as second:
            refusals[row] = ("malformed-json", not_json(text, second))
        return self._shape.struct()


def _parse_int(digits: str) -> int | HugeInt:
    # Python refuses to convert thousands of digits, and only the size matters.
    return int(digits) if len(digits) <= 40 else HugeInt()


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")
