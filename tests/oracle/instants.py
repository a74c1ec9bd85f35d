"""The semantics page once more, even more bluntly: walk every microsecond from the origin on.

Only for tiny times. It shares the rules for numbers and predicates with ``oracle.py`` and nothing else, so
that the two check each other.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

from tests.oracle.events import Event, Key, is_predicate, keys_of, of_key, satisfies
from tests.oracle.numbers import (
    SECOND,
    Value,
    arithmetic,
    compare,
    difference,
    exact,
    is_number,
    mean,
    same,
    total,
)
from tests.oracle.readings import reading
from timeline_workers.language import tree


def values(expression: tree.Expression, events: Iterable[Event], key: Key, until: int) -> list[Value]:
    """The value at each microsecond of ``[origin, until]``."""
    own = of_key(events, key)
    origin = own[0].time
    return _walk(expression, own, range(origin, until + 1))


def change(expression: tree.Expression, events: Iterable[Event], key: Key, start: int, end: int) -> Value:
    """The change of a Numeric over ``[start, end)``."""
    own = of_key(events, key)
    origin = own[0].time
    domain = range(origin, max(origin + 1, end + 1))
    row, slopes = _walk(expression, own, domain), _slopes(expression, own, domain)

    def before(t: int) -> Value:
        if t <= origin:
            return _walk(expression, [], range(1))[0]  # one instant, of a key that has an origin only
        value = row[t - 1 - origin]
        return value + slopes[t - 1 - origin] / SECOND if isinstance(value, Fraction) else value

    first, last = before(start), before(end)
    for t in range(max(start, origin), end):
        if first is None:
            first = row[t - origin]
    return None if first is None or last is None else difference(last, first)


def _slopes(node: tree.Node, events: list[Event], instants: range) -> list[Fraction]:
    """How fast a Numeric grows a second from each instant to the next."""
    rest = [Fraction(0) for _ in instants]
    match node:
        case tree.DurationWhere():
            return [Fraction(v is True) for v in _walk(node.of, events, instants)]
        case tree.DurationInCurState():
            return [Fraction(v is not None) for v in _walk(node.of, events, instants)]
        case tree.Arithmetic():
            slopes = [_slopes(side, events, instants) for side in (node.left, node.right)]
            values = [_walk(side, events, instants) for side in (node.left, node.right)]
            for i, ((x, y), (dx, dy)) in enumerate(
                zip(zip(*values, strict=True), zip(*slopes, strict=True), strict=True)
            ):
                if not is_number(x) or not is_number(y) or (node.operator == "/" and y == 0):
                    continue
                a, b = exact(x), exact(y)
                rest[i] = {
                    "+": dx + dy,
                    "-": dx - dy,
                    "*": dx * b + a * dy,
                    "/": (dx * b - a * dy) / (b * b) if b else Fraction(0),
                }[node.operator]
        case tree.Call():
            slopes = [_slopes(one, events, instants) for one in node.operands]
            values = [_walk(one, events, instants) for one in node.operands]
            return reading(node).slopes(node, values, slopes)
    return rest


def _keep_earlier(row: list[Value]) -> list[Value]:
    """1.0 after 1 is no change: the 1 stays."""
    kept: list[Value] = []
    for value in row:
        kept.append(kept[-1] if kept and same(kept[-1], value) else value)
    return kept


def _walk(node: tree.Node, events: list[Event], instants: range) -> list[Value]:
    origin = instants.start

    def child(operand: tree.Node) -> list[Value]:
        return _walk(operand, events, instants)

    def matches(predicate: tree.Node, after: float, until: int) -> int:
        return sum(after < e.time <= until and satisfies(e, predicate) for e in events)

    def latest(column: str, t: int) -> Value:
        heard = [e for e in events if e.time <= t and e.get(column) is not None]
        return max(heard, key=lambda e: (e.time, e.position)).get(column) if heard else None

    match node:
        case tree.Literal():
            return [node.value for _ in instants]
        case tree.LatestEventToState():
            return _keep_earlier([latest(node.column, t) for t in instants])
        case tree.HasExisted() if is_predicate(node.of):
            return [matches(node.of, float("-inf"), t) > 0 for t in instants]
        case tree.HasExisted():
            x = child(node.of)
            return [any(x[: i + 1]) for i in range(len(x))]
        case tree.HasExistedWithin() if is_predicate(node.of):
            return [matches(node.of, t - node.within, t) > 0 for t in instants]
        case tree.HasExistedWithin():
            # x at the instant u stands for [u, u+1): its window is [u, u+1+d).
            x = child(node.of)
            return [any(x[max(0, i - node.within) : i + 1]) for i in range(len(x))]
        case tree.EventCount():
            return [matches(node.of, float("-inf"), t) for t in instants]
        case tree.EventCountWithin():
            return [matches(node.of, t - node.within, t) for t in instants]
        case tree.Compare():
            pairs = zip(child(node.left), child(node.right), strict=True)
            return [compare(node.operator, a, b) for a, b in pairs]
        case tree.And():
            return [a is True and b is True for a, b in zip(child(node.left), child(node.right), strict=True)]
        case tree.Or():
            return [a is True or b is True for a, b in zip(child(node.left), child(node.right), strict=True)]
        case tree.Not():
            return [a is not True for a in child(node.of)]
        case tree.Arithmetic():
            pairs = zip(child(node.left), child(node.right), strict=True)
            return _keep_earlier([arithmetic(node.operator, a, b) for a, b in pairs])
        case tree.DurationWhere():
            x = child(node.of)
            return [Fraction(sum(v is True for v in x[:i]), SECOND) for i in range(len(x))]
        case tree.DurationInCurState():
            x = child(node.of)
            durations: list[Value] = []
            last = origin
            for i, t in enumerate(instants):
                if i > 0 and not same(x[i - 1], x[i]):
                    last = t
                durations.append(None if x[i] is None else Fraction(t - last, SECOND))
            return durations
        case tree.Call():
            return _keep_earlier(reading(node).instants(node, list(map(child, node.operands))))
    raise TypeError(f"{type(node).__name__} is not a timeline of one key")


def aggregate(
    expression: tree.Aggregate, events: Iterable[Event], group: Value, function: str, instants: range
) -> list[Value]:
    """The aggregate at each instant, unknown until a key has been in the group."""
    events = list(events)
    member: dict[Key, dict[int, Value]] = {}
    value: dict[Key, dict[int, Value]] = {}
    for key in keys_of(events):
        domain = range(of_key(events, key)[0].time, instants.stop)
        column = values(tree.LatestEventToState(column=expression.group_by), events, key, instants.stop - 1)
        member[key] = dict(zip(domain, column, strict=True))
        value[key] = dict(zip(domain, values(expression.of, events, key, instants.stop - 1), strict=True))
    row: list[Value] = []
    seen = False
    for t in instants:
        inside = [key for key in member if t in member[key] and same(member[key][t], group)]
        seen = seen or bool(inside)
        known: list[Value] = [v for key in inside if (v := value[key][t]) is not None]
        row.append(_combine(function, len(inside), known) if seen else None)
    return _keep_earlier(row)


def _combine(function: str, count: int, known: list[Value]) -> Value:
    numbers: list[Value] = [int(v) if isinstance(v, bool) else v for v in known]
    match function:
        case "count":
            return count
        case "sum":
            return total(numbers)
        case "avg":
            return mean(numbers)
    if not numbers:
        return None
    # Whether 1 or 1.0 comes out is settled in favour of the int.
    ordered = sorted(numbers, key=lambda v: (_plain(v), isinstance(v, float)))
    if function == "min":
        return ordered[0]
    greatest = ordered[-1]
    return next(v for v in ordered if same(v, greatest))


def _plain(value: Value) -> int | float | Fraction:
    return value if isinstance(value, int | float) else exact(value)
