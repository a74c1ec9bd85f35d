"""abs(x): the absolute value; what slopes bends where it crosses zero."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import pytest

from tests.algebra.operators.explicit import says, spans, values
from tests.oracle.numbers import INT64_MIN, Value
from tests.oracle.oracle import Piece, Pieces, canonical
from tests.oracle.readings import Reading
from timeline_workers.errors import ExpressionError
from timeline_workers.language import tree
from timeline_workers.language.canonical import canonical as canonical_tree, slug, to_text
from timeline_workers.language.check import check
from timeline_workers.language.parser import parse


def absolute(value: Value) -> Value:
    """The rule for one value: the magnitude of the least int is a float, as of a sum that leaves 64 bits."""
    if value is None:
        return None
    assert isinstance(value, int | float | Fraction)
    return float(2**63) if type(value) is int and value == INT64_MIN else abs(value)


def _pieces(node: tree.Call, operands: list[Pieces]) -> Pieces:
    (x,) = operands
    found = []
    for piece, following in zip(x, [*x[1:], None], strict=True):
        end = math.inf if following is None else following.start
        instants = {piece.start}
        if piece.slope and isinstance(piece.value, Fraction):
            zero = piece.start - piece.value * 1_000_000 / piece.slope
            instants.add(math.ceil(zero))  # what changes between two instants shows at the next one
        for t in sorted(t for t in instants if piece.start <= t < end):
            value = piece.at(t)
            falls = isinstance(value, Fraction) and (value < 0 or (value == 0 and piece.slope < 0))
            found.append(Piece(t, absolute(value), -piece.slope if falls else piece.slope))
    return canonical(found)


def _slopes(node: tree.Call, values: list[list[Value]], slopes: list[list[Fraction]]) -> list[Fraction]:
    (x,), (dx,) = values, slopes
    return [
        -d if isinstance(v, Fraction) and (v < 0 or (v == 0 and d < 0)) else d
        for v, d in zip(x, dx, strict=True)
    ]


READING = Reading(
    pieces=_pieces,
    instants=lambda node, operands: list(map(absolute, operands[0])),
    slopes=_slopes,
    nothing=lambda node, operands: absolute(operands[0]),
)


def test_a_state_loses_its_sign() -> None:
    events = says("n", (2, -3), (5, 3), (8, -0.5), (11, 0), (20, -(2**63)))
    assert values("abs(latest_event_to_state(n))", [{"t": 0}, *events]) == [
        (0, None),
        (2, 3),
        (8, 0.5),
        (11, 0),
        (20, 2.0**63),
    ]


def test_a_line_bends_at_the_crossing() -> None:
    """Playing from 2 on: 6 s are reached at 8."""
    found = spans(
        'abs(duration_where(latest_event_to_state(s) == "play") - 6)', says("s", (0, ""), (2, "play"))
    )
    assert found == [(0, 6, 0), (2, 6, -1), (8, 0, 1)]


def test_a_line_bends_at_the_next_instant() -> None:
    """A third of a microsecond short of a whole one; the value is exact on both sides."""
    expression = 'abs(3 * duration_where(latest_event_to_state(s) == "play") - 0.000002)'
    found = spans(expression, says("s", (0, "play")), until=1)
    assert [slope for _, _, slope in found] == [-3, 3]
    assert found[1][0] == 0.000001
    assert found[1][1] == pytest.approx(0.000001)


def test_a_line_that_begins_on_zero_goes_up() -> None:
    playing = 'duration_where(latest_event_to_state(s) == "play")'
    assert spans(f"abs(0 - {playing})", says("s", (0, "play"))) == [(0, 0, 1)]
    assert spans(f"abs({playing})", says("s", (0, "play"))) == [(0, 0, 1)]


def test_unknown_stays_unknown() -> None:
    found = spans(
        "abs(duration_in_cur_state(latest_event_to_state(s)) - 2)", [{"t": 0}, *says("s", (4, "x"))]
    )
    assert found == [(0, None, 0), (4, 2, -1), (6, 0, 1)]


def test_a_late_event_bends_it_elsewhere() -> None:
    in_order = says("s", (0, "play"), (3, "stop"), (9, "play"))
    expression = 'abs(duration_where(latest_event_to_state(s) == "play") - 5)'
    wanted = [(0, 5, -1), (3, 2, 0), (9, 2, -1), (11, 0, 1)]
    for order in (in_order, in_order[::-1], [in_order[1], in_order[0], in_order[2]]):
        assert spans(expression, order) == wanted


def test_its_text_is_read_back_and_names_its_worker() -> None:
    tree_ = parse("TL_DurationWhere(has_existed(x)) - abs( latest_event_to_state( n ) )")
    assert to_text(tree_) == "duration_where(has_existed(x)) - abs(latest_event_to_state(n))"
    assert parse(to_text(tree_)) == tree_
    one = parse("abs(1 + latest_event_to_state(n))")
    assert to_text(canonical_tree(one)) == "abs(latest_event_to_state(n) + 1)"
    assert slug(one) == "tl-abs"
    assert replace(check(one).kind_of(one)).exact is False


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("abs(has_existed(x))", "needs numbers, and this is true or false"),
        ("abs(-3)", "needs a timeline, not a constant"),
        ('abs(latest_event_to_state(x)) > 1 && latest_event_to_state(x) == "a"', "number"),
        ("has_existed(abs(x) > 3)", "has a value only at its events"),
        ("abs()", "abs needs one argument"),
        ("abs(latest_event_to_state(x), 5s)", "abs takes one argument, not 2"),
    ],
)
def test_what_it_does_not_take_is_refused(expression: str, message: str) -> None:
    with pytest.raises(ExpressionError, match=message):
        check(parse(expression), text=expression)
