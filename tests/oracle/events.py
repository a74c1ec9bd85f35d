"""One event, and what a predicate says of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.oracle.numbers import Value, arithmetic, compare
from timeline_workers.language import tree

Key = str | int


@dataclass(frozen=True)
class Event:
    """``time`` in microseconds; ``position`` is (partition, major, minor); a missing column is unknown."""

    key: Key
    time: int
    position: tuple[int, int, int]
    columns: dict[str, bool | int | float | str | None] = field(default_factory=dict)

    def get(self, column: str) -> bool | int | float | str | None:
        value = self.columns.get(column)
        return value + 0.0 if isinstance(value, float) else value


def distinct(events: Iterable[Event]) -> list[Event]:
    """The set of events in order of (time, position): redelivery of a position changes nothing."""
    by_position = {event.position: event for event in events}
    return sorted(by_position.values(), key=lambda e: (e.time, e.position))


def of_key(events: Iterable[Event], key: Key) -> list[Event]:
    """The events of one key in order; "1" and 1 are different keys."""
    return [e for e in distinct(events) if type(e.key) is type(key) and e.key == key]


def keys_of(events: Iterable[Event]) -> list[Key]:
    return list(dict.fromkeys(event.key for event in events))


def is_predicate(node: tree.Node) -> bool:
    """Whether all leaves are columns and literals."""
    if isinstance(node, tree.Column | tree.Literal):
        return True
    if isinstance(node, tree.Compare | tree.Arithmetic | tree.And | tree.Or | tree.Not):
        return all(is_predicate(child) for child in node.children())
    return False


def satisfies(event: Event, predicate: tree.Node) -> bool:
    """Whether the event satisfies the predicate."""
    if isinstance(predicate, tree.And):
        return satisfies(event, predicate.left) and satisfies(event, predicate.right)
    if isinstance(predicate, tree.Or):
        return satisfies(event, predicate.left) or satisfies(event, predicate.right)
    if isinstance(predicate, tree.Not):
        return not satisfies(event, predicate.of)
    if isinstance(predicate, tree.Compare):
        return compare(predicate.operator, _value(event, predicate.left), _value(event, predicate.right))
    return _value(event, predicate) is True


def _value(event: Event, node: tree.Node) -> Value:
    if isinstance(node, tree.Column):
        return event.get(node.name)
    if isinstance(node, tree.Literal):
        return node.value
    if isinstance(node, tree.Arithmetic):
        return arithmetic(node.operator, _value(event, node.left), _value(event, node.right))
    raise TypeError(f"{type(node).__name__} has no place inside a predicate")
