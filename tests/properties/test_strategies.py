"""The strategies draw what a user could apply: the checker has the last word."""

from __future__ import annotations

from hypothesis import given, strategies as st

from tests.oracle import oracle
from tests.properties import strategies as some
from timeline_workers.language.check import check


@given(st.data())
def test_every_drawn_expression_passes_the_checker(data: st.DataObject) -> None:
    """It is accepted without declared columns, and each node is exact where the oracle says so."""
    scale = data.draw(some.scales)
    expression = data.draw(some.expressions(scale, 3))
    checked = check(expression)
    for node in some.subexpressions(expression):
        assert checked.kind_of(node).exact == oracle.is_exact(node)


@given(st.data())
def test_every_drawn_aggregate_passes_the_checker(data: st.DataObject) -> None:
    """It is accepted without declared columns."""
    assert check(data.draw(some.aggregates(1, 2))).kind.name == "numeric"


@given(st.data())
def test_columns_keep_the_types_that_expressions_require(data: st.DataObject) -> None:
    """No drawn event is invalid for the expression: what it requires of a column is what its values are."""
    checked = check(data.draw(some.expressions(1, 3)))
    for column, required in checked.requirements.items():
        assert some.COLUMNS[column] == required
