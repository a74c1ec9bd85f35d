"""Random events and random well-typed expressions over them, valid by construction.

Times are tiny, so that events tie, windows touch and crossings fall between instants. ``scale`` stretches
them: at ``SECOND`` the thresholds are whole seconds, at 1 they are millionths and crossings fall between
microseconds.
"""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from tests.oracle.events import Event, is_predicate
from tests.oracle.numbers import SECOND
from tests.oracle.readings import calls
from timeline_workers.language import tree
from timeline_workers.language.operator_table import OPERATORS

KEYS: tuple[str | int, ...] = ("a", "b", 1, "1")
# The first few are what most events and most constants say, so that they meet.
TEXTS = ("x", "x", "x", "y", "y", "", "xy", "\uffff", "\U0001f600")
INTS = (0, 1, 2, 1, 2, -1, 3, 7)
EDGE_INTS = (2**53 + 1, 2**63 - 1, -(2**63), 2**62)
FLOATS = (1.0, 2.0, 0.5, 0.1, 0.0, -0.0, -1.5, 3.0)
EDGE_FLOATS = (1.7e308, 5e-324, 9007199254740992.0, 9.223372036854775807e18, 1e22)

# Column name -> the type of all its values; "any" columns only ever meet one another.
COLUMNS = {"s": "string", "r": "string", "n": "number", "m": "number", "f": "bool", "u": "any", "v": "any"}

_numbers = st.sampled_from(INTS * 4 + FLOATS * 3 + EDGE_INTS + EDGE_FLOATS)
_values: dict[str, SearchStrategy[Any]] = {
    "string": st.sampled_from(TEXTS),
    "number": _numbers,
    "bool": st.booleans(),
}
_values["any"] = st.one_of(_values["string"], st.sampled_from(INTS + FLOATS), _values["bool"])


@st.composite
def event_sets(
    draw: st.DrawFn, expression: Any, *, scale: int, max_size: int = 20, span: int = 24
) -> list[Event]:
    """Events of few keys at few instants, with unique positions in no particular order.

    They speak mostly of the columns that the expression names.
    """
    origin = draw(st.sampled_from([0, -5 * scale, 1_672_531_200 * SECOND]))
    keys = st.sampled_from(draw(st.sampled_from([KEYS[:1], KEYS[:2], KEYS[:2], KEYS])))
    size = draw(st.sampled_from([n for n in (1, 3, 6, 9, 12, 16, 20) if n <= max_size]))
    named = {
        name: st.one_of(_values[COLUMNS[name]], _values[COLUMNS[name]], st.none())
        for name in sorted(columns_of(expression))
    }
    said = st.fixed_dictionaries({}, optional={**named, "unrelated": st.just(1)})
    raw = draw(st.lists(st.tuples(keys, st.integers(0, span), said), min_size=size, max_size=size))
    places = draw(st.permutations(range(size)))
    return [
        Event(key, origin + time * scale, (place // 6, place % 6 // 2, place % 2), columns)
        for (key, time, columns), place in zip(raw, places, strict=True)
    ]


def columns_of(node: Any) -> set[str]:
    """The columns that an expression names."""
    own = {
        getattr(node, field)
        for model, field in (
            (tree.Column, "name"),
            (tree.LatestEventToState, "column"),
            (tree.Aggregate, "group_by"),
        )
        if isinstance(node, model)
    }
    return own.union(*(columns_of(child) for child in node.children()))


def pick(*options: SearchStrategy[Any]) -> SearchStrategy[Any]:
    """Any of the options with equal chance, whatever they are made of; ``one_of`` would flatten them."""
    return st.integers(0, len(options) - 1).flatmap(lambda i: options[i])


@st.composite
def deliveries(draw: st.DrawFn, events: list[Event]) -> list[list[Event]]:
    """The events in any order, some of them twice, cut into batches anywhere."""
    again = draw(st.lists(st.sampled_from(events), max_size=4))
    arrivals = draw(st.permutations([*events, *again]))
    inner = draw(st.lists(st.integers(0, 3), min_size=len(arrivals) - 1, max_size=len(arrivals) - 1))
    cuts = [0, *(i for i, n in enumerate(inner, start=1) if n == 3), len(arrivals)]
    return [arrivals[a:b] for a, b in pairwise(cuts)]


_orders = st.sampled_from(["==", "!=", "<", "<=", ">", ">="])
_equality = st.sampled_from(["==", "!="])


def _columns(kind: str) -> SearchStrategy[tree.Column]:
    return st.sampled_from([tree.Column(name=name) for name, has in COLUMNS.items() if has == kind])


def _states(kind: str) -> SearchStrategy[tree.LatestEventToState]:
    return st.sampled_from(
        [tree.LatestEventToState(column=name) for name, has in COLUMNS.items() if has == kind]
    )


def _literals(values: SearchStrategy[Any]) -> SearchStrategy[tree.Literal]:
    return st.builds(lambda value: tree.Literal(value=value + 0.0 if type(value) is float else value), values)


def _compare(op: SearchStrategy[Any], left: Any, right: Any) -> SearchStrategy[tree.Compare]:
    return st.builds(tree.Compare, operator=op, left=left, right=right) | st.builds(
        tree.Compare, operator=op, left=right, right=left
    )


def _arithmetic(ops: str, left: Any, right: Any) -> SearchStrategy[tree.Arithmetic]:
    def build(op: Any, a: Any, b: Any) -> tree.Arithmetic:
        # Dividing by the constant 0 is refused when a metric is applied.
        if op == "/" and isinstance(b, tree.Literal) and b.value == 0:
            b = tree.Literal(value=4)
        return tree.Arithmetic(operator=op, left=a, right=b)

    return st.builds(build, st.sampled_from(list(ops)), left, right)


@cache
def predicates(depth: int = 2) -> SearchStrategy[Any]:
    """Predicates over the columns of one event."""
    number = _columns("number") | _arithmetic(
        "+-*/", _columns("number"), _columns("number") | _literals(_numbers)
    )
    flat = pick(
        _compare(_orders, _columns("string"), _literals(_values["string"])),
        _compare(_orders, number, _literals(_numbers)),
        _compare(_equality, _columns("bool"), _literals(st.booleans())),
        _compare(_orders, _columns("number"), number),
        _compare(_orders, _columns("any"), _columns("any")),
        _columns("bool"),
    )
    if depth == 0:
        return flat
    deeper = predicates(depth - 1)
    return pick(
        flat,
        st.builds(tree.And, left=deeper, right=deeper),
        st.builds(tree.Or, left=deeper, right=deeper),
        st.builds(tree.Not, of=deeper),
    )


def _calls(exact: str, of: SearchStrategy[Any]) -> list[SearchStrategy[tree.Call]]:
    """Every operator without a class in the tree that takes one number and has slope ``exact``."""
    return [
        st.builds(tree.Call, function=st.just(name), operands=st.tuples(of))
        for name in calls()
        if OPERATORS[name].arguments == ("number",) and OPERATORS[name].exact in ("operand", exact)
    ]


def _calls_of_booleans(scale: int, of: SearchStrategy[Any]) -> list[SearchStrategy[Any]]:
    """Every operator without a class in the tree that takes Booleans, and perhaps a window, and gives one."""
    rows = [OPERATORS[name] for name in calls() if OPERATORS[name].gives == "boolean"]
    return [
        st.builds(
            lambda operands, within, row=row: row.call(operands, within=within),
            st.tuples(*(of for _ in row.operands)),
            _durations(scale) if "window" in row.arguments else st.none(),
        )
        for row in rows
        if set(row.operands) == {"boolean"}
    ]


@cache
def plain(scale: int, depth: int) -> SearchStrategy[Any]:
    """Numeric timelines that do not come from durations, number states among them."""
    flat = pick(
        _states("number"),
        st.builds(tree.EventCount, of=predicates(1)),
        st.builds(tree.EventCountWithin, of=predicates(1), within=_durations(scale)),
    )
    if depth == 0:
        return flat
    deeper = plain(scale, depth - 1)
    return pick(
        flat,
        _arithmetic("+-*/", deeper, deeper | _literals(_numbers)),
        _arithmetic("+-*/", _literals(_numbers), deeper),
        *_calls("never", deeper),
    )


@cache
def exact(scale: int, depth: int) -> SearchStrategy[Any]:
    """Numeric timelines made from durations, in the forms that stay piecewise linear."""
    below = max(0, depth - 1)
    flat = pick(
        st.builds(tree.DurationWhere, of=booleans(scale, below)),
        st.builds(tree.DurationInCurState, of=booleans(scale, below)),
        st.builds(tree.DurationInCurState, of=st.one_of(*map(_states, ("string", "number", "bool", "any")))),
        st.builds(tree.DurationInCurState, of=plain(scale, below)),
    )
    if depth == 0:
        return flat
    deeper = exact(scale, depth - 1)
    steady = (
        plain(scale, depth - 1) | _literals(_thresholds(scale)) | _literals(st.sampled_from(INTS + FLOATS))
    )
    return pick(
        flat,
        flat,
        _arithmetic("+-", deeper, deeper),
        _arithmetic("+-*/", deeper, steady),
        _arithmetic("+-*", steady, deeper),
        *_calls("operand", deeper),
    )


@cache
def booleans(scale: int, depth: int) -> SearchStrategy[Any]:
    """Boolean timelines."""
    flat = pick(
        st.builds(tree.HasExisted, of=predicates(1)),
        st.builds(tree.HasExistedWithin, of=predicates(1), within=_durations(scale)),
        _compare(_orders, _states("string"), _literals(_values["string"])),
        _compare(_orders, _states("number"), _literals(_numbers)),
        _compare(_equality, _states("bool"), _literals(st.booleans())),
        _compare(_orders, _states("any"), _states("any")),
        _compare(_orders, _states("string"), _states("string")),
    )
    if depth == 0:
        return flat
    deeper = booleans(scale, depth - 1)
    return pick(
        flat,
        st.builds(tree.And, left=deeper, right=deeper),
        st.builds(tree.Or, left=deeper, right=deeper),
        st.builds(tree.Not, of=deeper),
        st.builds(tree.HasExisted, of=deeper),
        st.builds(tree.HasExistedWithin, of=deeper, within=_durations(scale)),
        *_calls_of_booleans(scale, deeper),
        _compare(_orders, plain(scale, depth - 1), plain(scale, depth - 1) | _literals(_numbers)),
        _compare(_orders, exact(scale, depth - 1), _literals(_thresholds(scale))),
        _compare(_orders, exact(scale, depth - 1), exact(scale, depth - 1) | plain(scale, depth - 1)),
        _compare(_equality, deeper, deeper),
    )


@cache
def _durations(scale: int) -> SearchStrategy[int]:
    return st.integers(1, 9).map(lambda d: d * scale)


@cache
def _thresholds(scale: int) -> SearchStrategy[int | float]:
    """Numbers of seconds near the durations that occur; at scale 1 some lie between two microseconds."""
    steps = st.sampled_from((-1.0, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 3.25, 5.0, 8.0, 10.0))
    near = steps.map(lambda n: n * scale / SECOND)
    return (
        near | near.map(lambda n: int(n) if n == int(n) else n) | st.sampled_from((1e300, 5e-324, 2**63 - 1))
    )


@cache
def expressions(scale: int, depth: int = 3) -> SearchStrategy[Any]:
    """Any expression that a metric may end in, aggregates aside."""
    return pick(
        st.one_of(*map(_states, ("string", "number", "bool", "any"))),
        plain(scale, depth),
        booleans(scale, depth),
        booleans(scale, depth),
        exact(scale, depth),
        exact(scale, depth),
    )


@cache
def aggregates(scale: int, depth: int = 2) -> SearchStrategy[Any]:
    """Aggregates of anything that can be summed, by any column."""
    return st.builds(
        tree.Aggregate,
        of=pick(plain(scale, depth), booleans(scale, depth), exact(scale, depth)),
        group_by=st.sampled_from(sorted(COLUMNS)),
        functions=st.just(("count", "sum", "avg", "min", "max")),
    )


scales = st.sampled_from((1, SECOND))


def subexpressions(node: Any) -> list[Any]:
    """The timelines inside an expression, itself first: not its predicates, not its literals."""
    if isinstance(node, tree.Literal | tree.Column):
        return []
    found = [node]
    if isinstance(node, tree.EventCount | tree.EventCountWithin):
        return found
    for child in node.children():
        if isinstance(node, tree.HasExisted | tree.HasExistedWithin) and is_predicate(child):
            continue
        found += subexpressions(child)
    return found
