"""One tree, one text, one hash for all ways of writing the same expression."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given

from timeline_workers.language import tree as t
from timeline_workers.language.canonical import canonical, content_hash, is_exact, slug, to_text
from timeline_workers.language.check import check
from timeline_workers.language.parser import parse

from .strategies import expressions

SAME = [
    ('"x" == latest_event_to_state(a)', 'latest_event_to_state(a) == "x"'),
    ("5 < event_count(a)", "event_count(a) > 5"),
    ("5 >= event_count(a)", "event_count(a) <= 5"),
    ("has_existed(1 < a)", "has_existed(a > 1)"),
    ("has_existed(b) && has_existed(a)", "has_existed(a) && has_existed(b)"),
    ("has_existed(b) | has_existed(a)", "has_existed(a) || has_existed(b)"),
    ("has_existed(b && a)", "has_existed(a && b)"),
    ("event_count(b) + event_count(a)", "event_count(a) + event_count(b)"),
    ("2 * event_count(a)", "event_count(a) * 2"),
    ("event_count(b) < event_count(a)", "event_count(a) > event_count(b)"),
    ("!!has_existed(a)", "has_existed(a)"),
    ("!!!has_existed(a)", "!has_existed(a)"),
    ("event_count(a) < 2 * 3", "event_count(a) < 6"),
    ("event_count(a) < 7 / 2", "event_count(a) < 3.5"),
    ("event_count(a) < 2 - -0.5", "event_count(a) < 2.5"),
    ("event_count(a) < 9223372036854775807 + 1", "event_count(a) < 9223372036854775808.0"),
    ("duration_where(has_existed(a)) < 600.0", "duration_where(has_existed(a)) < 600"),
    ("duration_where(has_existed(a)) < 10m", "duration_where(has_existed(a)) < 600"),
    ("duration_where(has_existed(a)) * 2.0 < 1200", "1200 > 2 * duration_where(has_existed(a))"),
    ("duration_where(has_existed(a)) < 3 * 0.5 + 8.5", "duration_where(has_existed(a)) < 10"),
    ("event_count_within(a, 60s)", "event_count_within(a, 1m)"),
    (
        "event_count(a) | aggregate(group_by(g), max, sum)",
        "event_count(a) | aggregate(group_by(g), sum, max)",
    ),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_equal_meanings_are_one_tree_and_one_hash(one: str, other: str) -> None:
    """Ways of writing one expression come to one canonical tree, text and hash."""
    assert canonical(parse(one)) == canonical(parse(other))
    assert content_hash(parse(one)) == content_hash(parse(other))


DIFFERENT = [
    ("event_count(a) < 600.0", "event_count(a) < 600"),
    ("latest_event_to_state(a) == 1", "latest_event_to_state(a) == true"),
    ("event_count(a) - event_count(b)", "event_count(b) - event_count(a)"),
    ("event_count(a) < event_count(b)", "event_count(b) < event_count(a)"),
    ("!(latest_event_to_state(a) == 1)", "latest_event_to_state(a) != 1"),
    ("(event_count(a) + 1) + 2", "event_count(a) + 3"),
    ("has_existed(`a && b`)", "has_existed(a && b)"),
    ('latest_event_to_state(a) == "b"', "latest_event_to_state(a) == latest_event_to_state(b)"),
]


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_what_may_answer_differently_stays_apart(one: str, other: str) -> None:
    """Order, types, and the place of unknowns and roundings are kept."""
    assert canonical(parse(one)) != canonical(parse(other))
    assert content_hash(parse(one)) != content_hash(parse(other))


@given(expressions)
def test_canonical_is_idempotent_and_keeps_kinds(expression: t.Expression) -> None:
    """The canonical tree is its own canonical tree, and check finds the same kind and types in it."""
    tree = canonical(expression)
    assert canonical(tree) == tree
    assert parse(to_text(tree)) == tree
    before, after = check(expression), check(tree)
    assert (before.kind, before.requirements, before.columns) == (
        after.kind,
        after.requirements,
        after.columns,
    )


@given(expressions)
def test_exactness_is_what_check_says(expression: t.Expression) -> None:
    """The canonical form and the checker agree on which Numerics are exact."""
    checked = check(expression)
    stack = [expression]
    while stack:
        node = stack.pop()
        if not isinstance(node, t.Aggregate):
            assert is_exact(node) == checked.kind_of(node).exact
        stack.extend(node.children())


def test_the_hash_covers_text_and_what_is_added() -> None:
    """The hash is the SHA-256 of the canonical text and the extra: the same for ever."""
    expression = parse('"play" == latest_event_to_state(a)')
    text = 'latest_event_to_state(a) == "play"\0source'
    assert content_hash(expression, "source") == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("latest_event_to_state(x)", "tl-latest-event-to-state"),
        ("has_existed(x)", "tl-has-existed"),
        ("has_existed_within(x, 5s)", "tl-has-existed-within"),
        ("event_count(x)", "tl-event-count"),
        ("event_count_within(x, 5s)", "tl-event-count-within"),
        ("duration_where(has_existed(x))", "tl-duration-where"),
        ("duration_in_cur_state(has_existed(x))", "tl-duration-in-cur-state"),
        ("x == 1", "equal-to"),
        ("x != 1", "not-equal-to"),
        ("x < 1", "less-than"),
        ("x <= 1", "less-or-equal"),
        ("x > 1", "greater-than"),
        ("x >= 1", "greater-or-equal"),
        ("x && y", "and"),
        ("x || y", "or"),
        ("!x", "not"),
        ("x + y", "plus"),
        ("x - y", "minus"),
        ("x * y", "times"),
        ("x / y", "divided-by"),
        ("x | aggregate(group_by(y), count)", "aggregate"),
    ],
)
def test_slugs(text: str, name: str) -> None:
    """Every operator has its readable name."""
    assert slug(parse(text)) == name


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("!(a == b)", "!(a == b)"),
        ("(a && b) && c", "a && b && c"),
        ("a && (b && c)", "a && (b && c)"),
        ("(a || b) && c", "(a || b) && c"),
        ("a - (b - c)", "a - (b - c)"),
        ("(a * b) + c", "a * b + c"),
        ("(!a) == b", "(!a) == b"),
        ("`x` == `and`", "x == `and`"),
        ("has_existed_within(a, 90s)", "has_existed_within(a, 90s)"),
        ("has_existed_within(a, 0.5)", "has_existed_within(a, 500ms)"),
        ("a == 'it\\'s'", 'a == "it\'s"'),
        ("a | b | aggregate(group_by(c), count)", "(a || b) | aggregate(group_by(c), count)"),
    ],
)
def test_printing(text: str, printed: str) -> None:
    """Text is in our spelling with the parentheses that it takes, and no others."""
    assert to_text(parse(text)) == printed
