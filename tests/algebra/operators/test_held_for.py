"""held_for: true on [a+d, b) for a true span [a, b) that is longer than d."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest

from tests.algebra.operators.explicit import says, values
from tests.oracle.numbers import Value
from tests.oracle.oracle import Piece, Pieces, canonical
from tests.oracle.readings import Reading
from timeline_workers.errors import ExpressionError
from timeline_workers.language import tree
from timeline_workers.language.canonical import canonical as canonical_tree, slug, to_text
from timeline_workers.language.check import check
from timeline_workers.language.parser import parse


def _pieces(node: tree.Call, operands: list[Pieces]) -> Pieces:
    (x,), held = operands, node.within
    assert held is not None
    found = [Piece(x[0].start, False)]
    for piece, following in zip(x, [*x[1:], None], strict=True):
        end = math.inf if following is None else following.start
        if piece.value is True and piece.start + held < end:
            found.append(Piece(piece.start + held, True))
        found += [] if following is None else [Piece(following.start, False)]
    return canonical(found)


def _instants(node: tree.Call, operands: list[list[Value]]) -> list[Value]:
    (x,), held = operands, node.within
    assert held is not None
    return [t >= held and all(v is True for v in x[t - held : t + 1]) for t in range(len(x))]


READING = Reading(
    pieces=_pieces,
    instants=_instants,
    slopes=lambda node, values, slopes: [Fraction(0) for _ in values[0]],
    nothing=lambda node, operands: False,
)
DOWN = 'held_for(latest_event_to_state(s) == "down", 5s)'


def test_a_span_holds_from_its_duration_on() -> None:
    assert values(DOWN, says("s", (0, "up"), (2, "down"), (9, "up"))) == [(0, False), (7, True), (9, False)]


def test_a_span_that_is_no_longer_never_holds() -> None:
    """At 7 it has been down for 5 s, and is not down any more."""
    assert values(DOWN, says("s", (0, "up"), (2, "down"), (7, "up"), (8, "down"), (10, "up"))) == [(0, False)]


def test_nothing_holds_before_origin_plus_duration() -> None:
    assert values(DOWN, says("s", (3, "down"))) == [(3, False), (8, True)]
    assert values("held_for(!has_existed(s == 'up'), 5s)", says("s", (3, "down"))) == [(3, False), (8, True)]


def test_a_late_event_cuts_a_span_in_two() -> None:
    """Up for a second at 6: neither part has lasted long enough, but the second does later."""
    events = says("s", (0, "up"), (2, "down"), (13, "up"))
    assert values(DOWN, events) == [(0, False), (7, True), (13, False)]
    assert values(DOWN, [*events, *says("s", (6, "up"), (7, "down"))]) == [
        (0, False),
        (12, True),
        (13, False),
    ]


def test_a_late_event_joins_two_spans() -> None:
    """Until it comes, each of two spans is too short."""
    expression = 'held_for(latest_event_to_state(s) == "down" && !has_existed_within(hush == true, 2s), 5s)'
    events = says("s", (0, "down"), (12, "up"))
    hushed = [*events, *says("hush", (4, True), (8, True))]
    assert values(expression, hushed) == [(0, False)]
    assert values(expression, [*events, *says("hush", (4, True))]) == [(0, False), (11, True), (12, False)]


def test_its_text_is_read_back_and_names_its_worker() -> None:
    one = parse("held_for( 2 < latest_event_to_state( n ), 90 )")
    assert to_text(canonical_tree(one)) == "held_for(latest_event_to_state(n) > 2, 90s)"
    assert slug(one) == "tl-held-for"


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("held_for(latest_event_to_state(n), 5s) && has_existed(n > 3)", "needs true or false"),
        ("held_for(true, 5s)", "needs a condition, not a constant"),
        ('held_for(s == "down", 5s)', "has a value only at its events"),
        ("held_for(has_existed(s == 1), 0s)", "longer than 0"),
        ("held_for(has_existed(s == 1))", "needs a duration such as 5s as its second argument"),
    ],
)
def test_what_it_does_not_take_is_refused(expression: str, message: str) -> None:
    with pytest.raises(ExpressionError, match=message):
        check(parse(expression), text=expression)
