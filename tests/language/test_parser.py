"""Text to tree: both spellings, precedence, literals, names."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, strategies as st

from timeline_workers.errors import ExpressionError
from timeline_workers.language import tree as t
from timeline_workers.language.canonical import canonical, to_text
from timeline_workers.language.check import check
from timeline_workers.language.parser import parse

from .strategies import expressions

OURS = """
duration_where(latest_event_to_state(playerStateChange) == "buffer"
  && has_existed(playerStateChange == "play")    # not the first buffering
  && !has_existed_within(userAction == "seek", 5s)) // no action of the viewer's
"""
PAPERS = """
TL_DurationWhere((TL_LatestEventToState(col("playerStateChange")) == "buffer")
  & TL_HasExisted(col('playerStateChange') == 'play')
  & ~TL_HasExistedWithin(col("userAction") == "seek", 5))
"""


def column(name: str) -> t.Column:
    return t.Column(name=name)


def literal(text: str) -> object:
    """The value that a literal comes to, told apart by type."""
    tree = parse(text)
    assert isinstance(tree, t.Literal)
    return type(tree.value), tree.value


def test_both_spellings_give_the_same_tree() -> None:
    """The paper's spelling and ours are the same expression."""
    assert parse(OURS) == parse(PAPERS)


def test_the_tree_says_what_the_text_says() -> None:
    """CIRR comes out with every operator, argument and window in its place."""
    buffering = t.Compare(
        operator="==", left=t.LatestEventToState(column="playerStateChange"), right=t.Literal(value="buffer")
    )
    played = t.HasExisted(
        of=t.Compare(operator="==", left=column("playerStateChange"), right=t.Literal(value="play"))
    )
    seek = t.Compare(operator="==", left=column("userAction"), right=t.Literal(value="seek"))
    seeking = t.HasExistedWithin(of=seek, within=5_000_000)
    expected = t.DurationWhere(of=t.And(left=t.And(left=buffering, right=played), right=t.Not(of=seeking)))
    assert parse(OURS) == expected


@pytest.mark.parametrize(
    ("ours", "papers"),
    [
        ("latest_event_to_state(x)", 'TL_LatestEventToState(col("x"))'),
        ("has_existed(x)", 'TL_HasExisted(col("x"))'),
        ("has_existed_within(x, 5s)", 'TL_HasExistedWithin(col("x"), 5s)'),
        ("event_count(x)", 'TL_EventCount(col("x"))'),
        ("event_count_within(x, 5s)", 'TL_EventCountWithin(col("x"), 5s)'),
        ("duration_where(has_existed(x))", 'TL_DurationWhere(TL_HasExisted(col("x")))'),
        ("duration_in_cur_state(has_existed(x))", 'TL_DurationInCurState(TL_HasExisted(col("x")))'),
    ],
)
def test_each_operator_has_two_names(ours: str, papers: str) -> None:
    """Each operator is known by our name and by the paper's."""
    assert parse(ours) == parse(papers)


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("a || b && c", "a || (b && c)"),
        ("a && b || c", "(a && b) || c"),
        ("a | b & c", "a || (b && c)"),
        ("a || b || c", "(a || b) || c"),
        ("a && b && c", "(a && b) && c"),
        ("a & b == c", "a && (b == c)"),
        ("a == b | c == d", "(a == b) || (c == d)"),
        ("!a == b", "!(a == b)"),
        ("~a < b + 1", "!(a < (b + 1))"),
        ("!a && b", "(!a) && b"),
        ("!a || b", "(!a) || b"),
        ("!!a", "!(!a)"),
        ("a + b < c * d", "(a + b) < (c * d)"),
        ("a + b * c", "a + (b * c)"),
        ("a - b - c", "(a - b) - c"),
        ("a / b * c", "(a / b) * c"),
        ("a - -3", "a - (-3)"),
        ("-a * b", "(0 - a) * b"),
        ("- 3 + a", "(-3) + a"),
        ("--3 == a", "3 == a"),
    ],
)
def test_precedence(text: str, means: str) -> None:
    """Operators bind as the semantics say, with either spelling of and, or, not."""
    assert parse(text) == parse(means)


def test_grouping_is_seen_in_the_tree() -> None:
    """Parentheses change the tree where precedence would decide otherwise."""
    assert parse("(a || b) && c") == t.And(left=t.Or(left=column("a"), right=column("b")), right=column("c"))
    assert parse("(!a) == b") == t.Compare(operator="==", left=t.Not(of=column("a")), right=column("b"))
    assert parse("(a == b) == c") != parse("a == (b == c)")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("false", False),
        ("0", 0),
        ("007", 7),
        ("-5", -5),
        ("9223372036854775807", 2**63 - 1),
        ("-9223372036854775808", -(2**63)),
        ("1.0", 1.0),
        ("1e3", 1000.0),
        ("1.5e-3", 0.0015),
        ("-0.25", -0.25),
        ("5s", 5),
        ("10 sec", 10),
        ("2m", 120),
        ("1h", 3600),
        ("7d", 604_800),
        ("250ms", 0.25),
        ("40us", 0.00004),
        ("1.5h", 5400),
        ("-5s", -5),
        ('"x"', "x"),
        ("'x'", "x"),
        ("''", ""),
        (r'"a\n\t\\\"\'\u00e9"', "a\n\t\\\"'é"),
        (r'"\ud83d\ude00"', "😀"),
        ('"# no comment // here"', "# no comment // here"),
    ],
)
def test_literals(text: str, value: object) -> None:
    """A literal is its value, of its type; a duration is its seconds."""
    assert literal(text) == (type(value), value)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("x", "x"),
        ("attributes.device", "attributes.device"),
        ("`user action`", "user action"),
        ('col("user action")', "user action"),
        (r"`a\`b\n`", "a`b\n"),
        ("`true`", "true"),
        ("aggregate", "aggregate"),
        ("has_existed", "has_existed"),
        ("größe", "größe"),
    ],
)
def test_columns(text: str, name: str) -> None:
    """A column is bare, dotted, in backticks or in col(...)."""
    assert parse(text) == column(name)


@pytest.mark.parametrize(
    ("window", "microseconds"),
    [
        ("5s", 5_000_000),
        ("5", 5_000_000),
        ("0.5", 500_000),
        ("0.000001", 1),
        ("40us", 1 * 40),
        ("(1m)", 60_000_000),
    ],
)
def test_windows(window: str, microseconds: int) -> None:
    """A window is a duration or a number of seconds, and exact."""
    assert parse(f"has_existed_within(x, {window})") == t.HasExistedWithin(
        of=column("x"), within=microseconds
    )


def test_aggregate_is_the_last_step() -> None:
    """`|` before aggregate is a pipe, before anything else it is or."""
    tree = parse("a | b | aggregate(group_by(`user region`), count, avg)")
    either = t.Or(left=column("a"), right=column("b"))
    assert tree == t.Aggregate(of=either, group_by="user region", functions=("count", "avg"))
    assert parse('a | b | TL_Aggregate(group_by(col("user region")), count, avg)') == tree


def test_every_node_knows_its_place() -> None:
    """The span of a node is the text that it came from."""
    text = "duration_where( (a + 1) == -2 && !has_existed(b) ) < 5s"
    stack = [parse(text)]
    seen = []
    while stack:
        node = stack.pop()
        assert node.span is not None
        seen.append(text[slice(*node.span)])
        assert parse(seen[-1]) == node
        stack.extend(node.children())
    assert {"a", "1", "-2", "a + 1", "!has_existed(b)", "5s"} <= set(seen)


def test_spans_take_no_part_in_equality() -> None:
    """The same said at another place is the same tree, with the same hash."""
    here, there = parse("a == 1"), parse("  a\n==\n1")
    assert here == there
    assert hash(here) == hash(there)
    assert here.span != there.span
    assert parse("a == 1") != parse("a == 1.0")
    assert parse("a == 1") != parse("a == true")


@given(expressions)
def test_text_of_a_tree_reads_back(expression: t.Expression) -> None:
    """parse(to_text(x)) is x, for awkward names, strings and numbers too."""
    assert parse(to_text(expression)) == expression


@given(expressions)
def test_trees_survive_json(expression: t.Expression) -> None:
    """A tree dumped as JSON reads back equal."""
    assert msgspec.json.decode(msgspec.json.encode(expression), type=type(expression)) == expression


_TOKENS = st.sampled_from(
    [
        "has_existed",
        "has_existed_within",
        "latest_event_to_state",
        "aggregate",
        "group_by",
        "col",
        "count",
        "x",
        "(",
        ")",
        ",",
        "|",
        "||",
        "&",
        "&&",
        "!",
        "~",
        "==",
        "=",
        "!=",
        "<",
        ">=",
        "+",
        "-",
        "*",
        "/",
        "`",
        "//",
        '"s"',
        "'",
        '"',
        "\\",
        "5s",
        "5",
        "1.5",
        "1e5",
        "parsecs",
        "true",
        "null",
        "and",
        "#",
        ".",
        "€",
    ]
)


@given(st.text() | st.lists(_TOKENS, max_size=20).map(" ".join) | st.lists(_TOKENS, max_size=20).map("".join))
def test_any_text_is_an_expression_or_an_expression_error(text: str) -> None:
    """Whatever the text, parse returns a tree or raises ExpressionError, and nothing else."""
    try:
        tree = parse(text)
    except ExpressionError:
        return
    assert parse(to_text(tree)) == tree


@given(st.text(st.characters(), max_size=30))
def test_half_surrogates_are_refused(text: str) -> None:
    """Text that is not Unicode is an ExpressionError like any other mistake."""
    with pytest.raises(ExpressionError):
        parse(f'has_existed(x == "{text}\ud800")')


DEEP = [
    "!" * 60_000 + "a",
    "-" * 60_000 + "5",
    " + ".join("a" * 16_000),
    "has_existed(" * 5_000 + "a" + ")" * 5_000,
    "(" * 60_000,
    "a" + ")" * 60_000,
    "(a, " * 10_000,
]


@pytest.mark.parametrize("text", DEEP, ids=[text[:20] for text in DEEP])
def test_no_text_exhausts_the_stack(text: str) -> None:
    """Deep and long expressions are refused with an ExpressionError."""
    with pytest.raises(ExpressionError):
        parse(text)


def test_parentheses_are_no_depth() -> None:
    """Any number of parentheses around an expression changes nothing."""
    assert parse("(" * 30_000 + "a" + ")" * 30_000) == column("a")


DEEPEST = [
    "!" * 97 + "has_existed(a)",
    "has_existed(" * 98 + "a == 1" + ")" * 98,
    "has_existed(" + " || ".join(f"a == {i}" for i in range(98)) + ")",
    " && ".join(f"has_existed(a == {i})" for i in range(97, 0, -1)),
    "has_existed(" + "-(" * 97 + "a" + ")" * 97 + " == -1)",
]


@pytest.mark.parametrize("text", DEEPEST, ids=[text[:20] for text in DEEPEST])
def test_the_deepest_trees_that_are_taken_work_everywhere(text: str) -> None:
    """What the parser accepts can be checked, made canonical, printed, hashed, dumped and read back."""
    tree = parse(text)
    check(tree, text=text)
    for one in (tree, canonical(tree)):
        assert parse(to_text(one)) == one
        assert hash(parse(to_text(one))) == hash(one)
        assert msgspec.json.decode(msgspec.json.encode(one), type=type(one)) == one
