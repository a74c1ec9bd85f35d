"""Random trees that check accepts, with awkward names, strings and numbers."""

from __future__ import annotations

from typing import TypeAlias

from hypothesis import strategies as st

from timeline_workers.language import tree as t
from timeline_workers.language.operator_table import OPERATORS

names = st.one_of(
    st.sampled_from(
        ["playerStateChange", "attributes.device", "user action", "true", "and", "null", "`", "a\nb", "é"]
    ),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6),
)
strings = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
integers = st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 3)
floats = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([-0.0, 600.0, 0.1, 1e16, 1e-7])
numbers = st.one_of(integers, floats).map(lambda value: t.Literal(value=value))
windows = st.integers(1, 10**12) | st.sampled_from([1_000, 1_000_000, 5_000_000, 86_400_000_000])
orders = st.sampled_from(["==", "!=", "<", "<=", ">", ">="])

# A column has one type in all of an expression: its name says which.
_number_names = names.map(lambda name: f"n{name}")
_string_names = names.map(lambda name: f"s{name}")
_bool_names = names.map(lambda name: f"b{name}")


Some: TypeAlias = st.SearchStrategy[t.Expression]


def _plus_minus_times(left: Some, right: Some) -> Some:
    def make(operator: t.ArithmeticOperator, a: t.Expression, b: t.Expression) -> t.Expression:
        return t.Arithmetic(operator=operator, left=a, right=b)

    return st.builds(make, st.sampled_from(["+", "-", "*"]), left, right)


def _arithmetic(numeric: Some) -> Some:
    # Divisors are never 0, nor constants that fold to 0; sizes stay where floats are finite.
    return st.one_of(
        _plus_minus_times(numeric, numeric),
        st.builds(
            lambda a, b: t.Arithmetic(operator="/", left=a, right=t.Literal(value=b)),
            numeric,
            st.integers(1, 9),
        ),
    )


def _compare(left: Some, right: Some) -> Some:
    return st.builds(
        lambda o, a, b, flip: t.Compare(operator=o, left=b if flip else a, right=a if flip else b),
        orders,
        left,
        right,
        st.booleans(),
    )


def _logic(boolean: Some) -> Some:
    return st.one_of(
        st.builds(lambda a, b: t.And(left=a, right=b), boolean, boolean),
        st.builds(lambda a, b: t.Or(left=a, right=b), boolean, boolean),
        st.builds(lambda a: t.Not(of=a), boolean),
    )


_texts = strings.map(lambda value: t.Literal(value=value))
_number_columns = st.recursive(_number_names.map(lambda name: t.Column(name=name)), _arithmetic, max_leaves=3)
_string_columns = _string_names.map(lambda name: t.Column(name=name))
_bool_columns = _bool_names.map(lambda name: t.Column(name=name))

predicates: Some = st.recursive(
    st.one_of(
        _compare(_number_columns, numbers | _number_columns), _compare(_string_columns, _texts), _bool_columns
    ),
    _logic,
    max_leaves=4,
)
states: Some = _number_names.map(lambda name: t.LatestEventToState(column=name))
_string_states = _string_names.map(lambda name: t.LatestEventToState(column=name))
_leaves: Some = st.one_of(
    predicates.map(lambda of: t.HasExisted(of=of)),
    st.builds(lambda of, within: t.HasExistedWithin(of=of, within=within), predicates, windows),
    _compare(states, numbers),
    _compare(_string_states, _texts),
)


_functions_of_a_number = [
    row.name for row in OPERATORS.values() if row.node is t.Call and row.arguments == ("number",)
]


_functions_of_booleans = [
    row
    for row in OPERATORS.values()
    if row.node is t.Call and row.gives == "boolean" and set(row.operands) == {"boolean"}
]


def _calls_of_booleans(of: Some) -> Some:
    return st.one_of(
        st.builds(
            lambda operands, within, row=row: row.call(operands, within=within),
            st.tuples(*(of for _ in row.operands)),
            windows if "window" in row.arguments else st.none(),
        )
        for row in _functions_of_booleans
    )


def _call(name: str, of: t.Expression) -> t.Expression:
    return OPERATORS[name].call([of])


def _numeric(boolean: Some) -> Some:
    flat = st.recursive(
        st.one_of(
            predicates.map(lambda of: t.EventCount(of=of)),
            st.builds(lambda of, within: t.EventCountWithin(of=of, within=within), predicates, windows),
            states,
        ),
        _arithmetic,
        max_leaves=3,
    )
    flat = st.one_of(flat, st.builds(_call, st.sampled_from(_functions_of_a_number), flat))
    exact = st.one_of(
        boolean.map(lambda of: t.DurationWhere(of=of)),
        (boolean | states).map(lambda of: t.DurationInCurState(of=of)),
    )
    sums = _plus_minus_times(exact, flat | numbers)
    return st.one_of(flat, exact, sums)


def _grow(boolean: Some) -> Some:
    return st.one_of(
        _logic(boolean),
        _compare(_numeric(boolean), numbers | _numeric(boolean)),
        boolean.map(lambda of: t.HasExisted(of=of)),
        st.builds(lambda of, within: t.HasExistedWithin(of=of, within=within), boolean, windows),
        _calls_of_booleans(boolean),
    )


booleans: Some = st.recursive(_leaves, _grow, max_leaves=5)
timelines: Some = st.one_of(booleans, _numeric(booleans), states, _string_states)
_functions = st.lists(st.sampled_from(["count", "sum", "avg", "min", "max"]), min_size=1, unique=True).map(
    tuple
)
expressions: Some = st.one_of(
    timelines,
    st.builds(
        lambda of, group, functions: t.Aggregate(of=of, group_by=group, functions=functions),
        booleans | _numeric(booleans),
        names.map(lambda name: f"g{name}"),
        _functions,
    ),
)
