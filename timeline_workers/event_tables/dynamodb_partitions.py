"""``Partitions``: which partitions of a table in DynamoDB a window meets. See ``dynamodb_table``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, Final, Protocol

from timeline_workers.columns.key_table import Key
from timeline_workers.errors import EventError, TableError
from timeline_workers.events.times import to_microseconds

from .declaration import TableDeclaration

MOST_AT_ONCE: Final = 64
_EPOCH: Final = datetime(1970, 1, 1)
_HOUR: Final = 3_600_000_000
_AHEAD: Final = 24 * _HOUR  # rows may lie so far ahead of the clock


class Partitions(Protocol):
    """Values of the partition attribute."""

    def of(self, start: int, end: int, keys: Sequence[Key] | None) -> list[Any]:
        """Those that rows of a window may lie in."""
        ...

    def in_turn(self, start: int, end: int, keys: Sequence[Key] | None, *, back: bool) -> Iterator[list[Any]]:
        """The same in groups, in the order of their times (``back``: in the reverse)."""
        ...


class _Listed:
    """Partitions that do not depend on time: those that are listed, or (None) the keys that are asked for."""

    def __init__(self, listed: Sequence[Any] | None, is_key: bool, is_number: bool, said: str) -> None:
        self._listed, self._is_key, self._said = listed, is_key, said
        self._is_number = is_number

    def of(self, start: int, end: int, keys: Sequence[Key] | None) -> list[Any]:
        if self._listed is None:
            if keys is None:
                raise TableError(
                    f"{self._said} has a partition for each key, so that rows of all keys could only be read "
                    "by scanning it; name keys of the channel, or an index with partitions"
                )
            # DynamoDB refuses to look for keys that its tables cannot hold.
            fitting = [key for key in keys if isinstance(key, int) == self._is_number and key != ""]
            return list(dict.fromkeys(fitting))
        if self._is_key and keys is not None:
            return [one for one in self._listed if one in keys]
        return list(self._listed)

    def in_turn(self, start: int, end: int, keys: Sequence[Key] | None, *, back: bool) -> Iterator[list[Any]]:
        yield self.of(start, end, keys)


class _ByPattern:
    """Partitions named by the time of what is in them."""

    def __init__(self, pattern: str, since: int, until: int | None) -> None:
        self._pattern, self._since, self._until = pattern, since, until

    def of(self, start: int, end: int, keys: Sequence[Key] | None) -> list[Any]:
        return list(self._names(start, end, back=False))

    def in_turn(self, start: int, end: int, keys: Sequence[Key] | None, *, back: bool) -> Iterator[list[Any]]:
        names, many = self._names(start, end, back=back), 1
        # The first that has rows is the answer, and most have: more at once only where they have not.
        while group := list(islice(names, many)):
            yield group
            many = min(2 * many, MOST_AT_ONCE)

    def _names(self, start: int, end: int, *, back: bool) -> Iterator[str]:
        """The names of the hours of a window, each once: no pattern of use is finer."""
        last = self._until
        if last is None:
            last = (datetime.now(UTC).replace(tzinfo=None) - _EPOCH) // timedelta(microseconds=1) + _AHEAD
        first_hour, end_hour = max(start, self._since) // _HOUR, (min(end, last) - 1) // _HOUR + 1
        hours = range(first_hour, end_hour)
        before = None
        for hour in reversed(hours) if back else hours:
            name = (_EPOCH + timedelta(hours=hour)).strftime(self._pattern)
            if name != before:
                yield name
            before = name


def partitions_of(declared: TableDeclaration, attribute: str, is_number: bool, said: str) -> Partitions:
    """The partitions of a declaration. Raises TableError."""
    said_of = declared.partitions
    if isinstance(said_of, str):
        since = _time("since", declared.since, said)
        until = None if declared.until is None else _time("until", declared.until, said)
        return _ByPattern(said_of, since, until)
    if said_of is None and attribute != declared.key:
        raise TableError(
            f"{said}: its partitions are by {attribute!r}, which is not its key; say which there are: "
            'partitions: [a, b], or partitions: "%Y-%m-%d" where they are days, or key: …'
        )
    return _Listed(said_of, attribute == declared.key, is_number, said)


def _time(field: str, value: str | None, said: str) -> int:
    try:
        return to_microseconds(value, "iso")
    except EventError as error:
        raise TableError(f"{said}: {field} is {value!r}: {error}; write an ISO 8601 time") from None
