"""x since y: from an instant at which both are true, for as long as x stays true."""

from __future__ import annotations

from fractions import Fraction

import pytest

from tests.algebra.operators.explicit import says, values
from tests.oracle.numbers import Value
from tests.oracle.oracle import Piece, Pieces, canonical, value_of
from tests.oracle.readings import Reading
from timeline_workers.errors import ExpressionError
from timeline_workers.language import tree
from timeline_workers.language.canonical import slug, to_text
from timeline_workers.language.check import check
from timeline_workers.language.parser import parse


def _pieces(node: tree.Call, operands: list[Pieces]) -> Pieces:
    x, y = operands
    found: Pieces = []
    for t in sorted({piece.start for piece in (*x, *y)}):
        was = bool(found) and found[-1].value is True
        found.append(Piece(t, value_of(x, t) is True and (value_of(y, t) is True or was)))
    return canonical(found)


def _instants(node: tree.Call, operands: list[list[Value]]) -> list[Value]:
    """Some instant at or before t at which y was True and since which x has been."""
    x, y = operands
    return [
        any(y[s] is True and all(v is True for v in x[s : t + 1]) for s in range(t + 1))
        for t in range(len(x))
    ]


READING = Reading(
    pieces=_pieces,
    instants=_instants,
    slopes=lambda node, values, slopes: [Fraction(0) for _ in values[0]],
    nothing=lambda node, operands: operands[0] is True and operands[1] is True,
)
WEAK, STRONG = "latest_event_to_state(load) > 70", "latest_event_to_state(load) > 90"
SWITCH = f"{WEAK} since {STRONG}"


def test_a_switch_has_hysteresis() -> None:
    """On above 90, off at 70 or below: neither what is between them nor coming back there changes it."""
    events = says("load", (0, 80), (2, 95), (4, 80), (6, 71), (8, 70), (10, 85), (12, 91), (14, 60))
    assert values(SWITCH, events) == [(0, False), (2, True), (8, False), (12, True), (14, False)]


def test_it_begins_where_the_later_begins() -> None:
    """x and y overlap from 5 on, whichever was first."""
    a, b = "latest_event_to_state(a) == true", "latest_event_to_state(b) == true"
    events = [*says("a", (0, False), (5, True), (9, False)), *says("b", (0, True), (7, False))]
    assert values(f"{a} since {b}", events) == [(0, False), (5, True), (9, False)]
    assert values(f"{b} since {a}", events) == [(0, False), (5, True), (7, False)]


def test_spans_that_only_touch_do_not_overlap() -> None:
    a, b = "latest_event_to_state(a) == true", "latest_event_to_state(b) == true"
    events = [*says("a", (0, False), (5, True)), *says("b", (0, True), (5, False))]
    assert values(f"{a} since {b}", events) == [(0, False)]


def test_it_holds_from_the_origin_on() -> None:
    assert values(SWITCH, says("load", (3, 95), (8, 75), (9, 10))) == [(3, True), (9, False)]


def test_a_late_event_switches_all_that_follows() -> None:
    events = says("load", (0, 80), (6, 75), (9, 60))
    assert values(SWITCH, events) == [(0, False)]
    assert values(SWITCH, [*events, *says("load", (3, 95))]) == [(0, False), (3, True), (9, False)]


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("{a} since {b}", "{a} since {b}"),
        ("!{a} since !{b}", "!{a} since !{b}"),
        ("!({a} since {b})", "!({a} since {b})"),
        ("({a} && {b}) since {c}", "({a} && {b}) since {c}"),
        ("{a} && ({b} since {c}) || {a}", "{a} && {b} since {c} || {a}"),
        ("({a} since {b}) since {c}", "({a} since {b}) since {c}"),
        ("{d} > 5 since {d} > 5.5 since_", None),
        ("{d} > 5 since {d} > 5.5", "{d} > 5 since {d} > 5.5"),
        ("{d} > 5s since {d} > 5 s", "{d} > 5 since {d} > 5"),
        ("{d} > 5.5 since({a})", "{d} > 5.5 since {a}"),
    ],
)
def test_it_binds_looser_than_not_and_tighter_than_and(text: str, read: str | None) -> None:
    names = {"a": "has_existed(a)", "b": "has_existed(b)", "c": "has_existed(c)"}
    names["d"] = "duration_where(has_existed(d))"
    written = text.format(**names)
    if read is None:
        with pytest.raises(ExpressionError, match="unknown unit `since_`"):
            parse(written)
        return
    assert to_text(parse(written)) == read.format(**names)
    assert parse(read.format(**names)) == parse(written)


def test_a_column_may_still_be_called_since() -> None:
    """Expressions of earlier releases keep their text, and so their workers."""
    text = "latest_event_to_state(since) > 5 && has_existed(since == 5) && has_existed(since.a)"
    assert to_text(parse(text)) == text
    assert slug(parse("has_existed(since) since has_existed(since)")) == "tl-since"


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("has_existed(a) since has_existed(b) since has_existed(c)", "since cannot be chained"),
        ("has_existed(a) since true", "since needs a condition, not a constant"),
        ("has_existed(a) since event_count(b)", "since needs true or false"),
        ("has_existed(a since b)", "has a value only at its events"),
        ("since(has_existed(a), has_existed(b))", "there is no function `since`"),
        ("duration_where(has_existed(a)) > 5since has_existed(b)", "5since is not a number"),
    ],
)
def test_what_it_does_not_take_is_refused(expression: str, message: str) -> None:
    with pytest.raises(ExpressionError, match=message):
        check(parse(expression), text=expression)
