"""Kinds, types of columns, and the rules on both."""

from __future__ import annotations

import pytest
from hypothesis import given

from timeline_workers.errors import ExpressionError
from timeline_workers.language import tree as t
from timeline_workers.language.check import check
from timeline_workers.language.kinds import Kind
from timeline_workers.language.parser import parse
from timeline_workers.metric.model import ColumnType

from .strategies import expressions

COLUMNS: dict[str, ColumnType] = {
    "state": "string",
    "region": "string",
    "n": "int",
    "f": "float",
    "flag": "bool",
    "other": "bool",
}

KINDS = [
    ("latest_event_to_state(state)", Kind("state", "string")),
    ("latest_event_to_state(f)", Kind("state", "number")),
    ("has_existed(flag)", Kind("boolean", "bool")),
    ("has_existed(state == region || !flag && n + 1 > f)", Kind("boolean", "bool")),
    ("has_existed(flag == other)", Kind("boolean", "bool")),
    ("has_existed_within(has_existed(flag), 5s)", Kind("boolean", "bool")),
    ("latest_event_to_state(state) >= latest_event_to_state(region)", Kind("boolean", "bool")),
    ("latest_event_to_state(flag) == has_existed(flag)", Kind("boolean", "bool")),
    ("has_existed(flag) != true", Kind("boolean", "bool")),
    ("event_count(flag)", Kind("numeric", "number")),
    ("event_count_within(state == 'x', 1m) * 2", Kind("numeric", "number")),
    ("latest_event_to_state(n) + 1", Kind("numeric", "number")),
    ("duration_where(has_existed(flag))", Kind("numeric", "number", exact=True)),
    ("duration_in_cur_state(latest_event_to_state(state))", Kind("numeric", "number", exact=True)),
    ("duration_in_cur_state(has_existed(flag))", Kind("numeric", "number", exact=True)),
    ("duration_in_cur_state(event_count(flag) + 1)", Kind("numeric", "number", exact=True)),
    ("1 + duration_where(has_existed(flag)) / event_count(flag)", Kind("numeric", "number", exact=True)),
    ("duration_where(has_existed(flag)) < 2m", Kind("boolean", "bool")),
    ("has_existed(flag) | aggregate(group_by(region), count, sum)", Kind("numeric", "number")),
    ("latest_event_to_state(state) | aggregate(group_by(region), count)", Kind("numeric", "number")),
    (
        "duration_where(has_existed(flag)) | aggregate(group_by(n), avg)",
        Kind("numeric", "number", exact=True),
    ),
]


@pytest.mark.parametrize(("text", "kind"), KINDS, ids=[text for text, _ in KINDS])
def test_kinds(text: str, kind: Kind) -> None:
    """What an expression is follows from its operators and the types of its columns."""
    assert check(parse(text), COLUMNS, text=text).kind == kind


MISTAKES = [
    ("«5»", "cannot be a constant"),
    ("«2 * 3»", "cannot be a constant"),
    ("«state» == 'x'", "only at its events", "latest_event_to_state(state)", "has_existed"),
    ("latest_event_to_state(«regoin»)", "no column regoin", "did you mean region?"),
    ("has_existed(«zzz» == 1)", "no column zzz", "f, flag, n"),
    ("has_existed(flag) | aggregate(group_by(«regionn»), count)", "no column regionn", "region"),
    ("has_existed(«state == 5»)", "a string with a number", "state is declared as string"),
    ("has_existed(«state == flag»)", "a string with a bool", "flag is declared as bool"),
    ("«latest_event_to_state(flag) == 1»", "a bool with a number"),
    ("«event_count(flag) == true»", "a number with a bool"),
    ("«has_existed(flag) == 1»", "a bool with a number"),
    ("has_existed(«flag» < other)", "no order"),
    ("«has_existed(flag)» < has_existed(other)", "no order"),
    ("has_existed(«n»)", "true or false", "n is declared as int"),
    ("has_existed(flag && «n + 1»)", "true or false", "> 0"),
    ("has_existed(flag && «true»)", "constant"),
    ("has_existed(flag) || «true»", "constant"),
    ("has_existed(«1 == 2»)", "two constants"),
    ("has_existed(«true»)", "condition on a column"),
    ("event_count(«has_existed(flag)»)", "counts events"),
    ("has_existed(«state» == 'x' && has_existed(flag))", "cannot stand in one condition"),
    ("has_existed(«state» == latest_event_to_state(state))", "cannot stand in one condition"),
    ("has_existed(«latest_event_to_state(flag)»)", "a state", "latest_event_to_state(flag) == true"),
    ("duration_where(«latest_event_to_state(state)»)", "a state", 'latest_event_to_state(state) == "..."'),
    ("«latest_event_to_state(flag)» && has_existed(flag)", "a state", "== true"),
    ("!«latest_event_to_state(n)»", "a state", "== 1"),
    ("has_existed_within(«event_count(flag)», 5s)", "a number", "event_count(flag) > 0"),
    ("duration_where(«duration_where(has_existed(flag))»)", "a number"),
    ("«has_existed(flag)» + 1", "needs numbers"),
    ("latest_event_to_state(n) - «latest_event_to_state(state)»", "needs numbers", "declared as string"),
    ("latest_event_to_state(n) - «'x'»", "needs numbers"),
    ("«duration_where(has_existed(flag)) * duration_where(has_existed(flag))»", "one side without slope"),
    ("1 / «duration_where(has_existed(flag))»", "one side without slope"),
    ("event_count(flag) < «1e308 * 10»", "too large"),
    ("duration_in_cur_state(«duration_where(has_existed(flag))»)", "changes at every instant"),
    ("duration_in_cur_state(«5»)", "constant"),
    ("«latest_event_to_state(flag)» | aggregate(group_by(region), sum)", "cannot add up", "== true"),
    ("«latest_event_to_state(state)» | aggregate(group_by(region), count, max)", "cannot add up"),
    ("«1 + 1» | aggregate(group_by(region), count)", "constant"),
]


@pytest.mark.parametrize("mistake", MISTAKES, ids=[case[0] for case in MISTAKES])
def test_the_caret_stands_under_the_mistake(mistake: tuple[str, ...]) -> None:
    """The error names the place of the mistake, the rule and the way out."""
    marked, *words = mistake
    start, end = marked.index("«"), marked.index("»") - 1
    text = marked.replace("«", "").replace("»", "")
    with pytest.raises(ExpressionError) as caught:
        check(parse(text), COLUMNS, text=text)
    assert caught.value.span is not None
    assert caught.value.span == (start, end)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("mistake", MISTAKES, ids=[case[0] for case in MISTAKES])
def test_without_a_text_the_error_quotes_the_part(mistake: tuple[str, ...]) -> None:
    """An expression built in Python has no caret: the message itself says where."""
    text = mistake[0].replace("«", "").replace("»", "")
    with pytest.raises(ExpressionError) as caught:
        check(parse(text), COLUMNS)
    assert caught.value.span is None
    assert "(in " in str(caught.value)


REQUIREMENTS = [
    ("latest_event_to_state(a)", {}),
    ("latest_event_to_state(a) == 'x'", {"a": "string"}),
    ("latest_event_to_state(a) == 1.5", {"a": "number"}),
    ("has_existed(a)", {"a": "bool"}),
    ("has_existed(a + b > c)", {"a": "number", "b": "number", "c": "number"}),
    ("has_existed(a == b)", {}),
    ("has_existed(a == b && b == 'x')", {"a": "string", "b": "string"}),
    ("has_existed(a == b) && latest_event_to_state(b) == latest_event_to_state(c) && has_existed(c)",
     {"a": "bool", "b": "bool", "c": "bool"}),
    ("latest_event_to_state(a) == event_count(b)", {"a": "number", "b": "bool"}),
    ("latest_event_to_state(a) | aggregate(group_by(g), count)", {}),
    ("latest_event_to_state(a) | aggregate(group_by(g), count, avg)", {"a": "number"}),
]  # fmt: skip


@pytest.mark.parametrize(("text", "types"), REQUIREMENTS, ids=[text for text, _ in REQUIREMENTS])
def test_what_an_event_must_hold_follows_from_use(text: str, types: dict[str, str]) -> None:
    """A column's type is what it is compared and computed with, also by way of other columns."""
    assert check(parse(text)).requirements == types


@pytest.mark.parametrize(
    "text",
    [
        "has_existed(a == 1) && has_existed(a == 'x')",
        "has_existed(a == b && b == 'x' && a == 1)",
        "has_existed(a < b) && has_existed(b)",
        "has_existed(a) && has_existed(a > b)",
        "latest_event_to_state(a) + 1 > 0 && has_existed(a == true)",
    ],
)
def test_undeclared_columns_have_one_type_too(text: str) -> None:
    """Uses of one column that no value could satisfy together are an error."""
    with pytest.raises(ExpressionError):
        check(parse(text))


def test_declared_types_are_requirements() -> None:
    """A declared column keeps its declared type whatever the expression does with it."""
    checked = check(parse("latest_event_to_state(n) | aggregate(group_by(region), count)"), COLUMNS)
    assert checked.requirements == {"n": "number", "region": "string"}
    assert checked.columns == ("n", "region")


def test_kinds_of_parts() -> None:
    """Every node has its kind, found by the node or by an equal one."""
    text = "duration_where(has_existed(x == 'a'))"
    expression = parse(text)
    checked = check(expression)
    (existed,) = expression.children()
    (predicate,) = existed.children()
    assert checked.kind_of(existed) == Kind("boolean", "bool")
    assert checked.kind_of(predicate) == Kind("event", "bool")
    assert checked.kind_of(parse("has_existed(x == 'a')")) == Kind("boolean", "bool")
    assert checked.kind_of(t.Column(name="x")) == Kind("event", "string")
    with pytest.raises(KeyError):
        checked.kind_of(t.Column(name="y"))


@given(expressions)
def test_well_typed_expressions_pass(expression: t.Expression) -> None:
    """What is well typed by construction passes, and every node has a kind."""
    checked = check(expression)
    assert checked.kind.name in ("state", "boolean", "numeric")
    assert set(checked.requirements) <= set(checked.columns)


def test_a_tree_too_deep_is_refused() -> None:
    """A tree made by hand meets the same limit as a text."""
    node: t.Expression = t.HasExisted(of=t.Column(name="x"))
    for _ in range(1_000):
        node = t.Not(of=node)
    with pytest.raises(ExpressionError, match="deeper than 100"):
        check(node)
