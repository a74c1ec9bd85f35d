"""Keys and values as text: exact both ways, one text for each, and refusals that name what is wrong."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, strategies as st

from timeline_workers.errors import StateError
from timeline_workers.history.model import Group, Value
from timeline_workers.history.text import key_of, key_text, slope_of, slope_text, value_of, value_text, words

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"])),
)
fractions = st.fractions()


@given(scalars, scalars)
def test_keys_differ_as_their_text_does(one: Group, other: Group) -> None:
    assert repr(key_of(key_text(one))) == repr(one)
    assert (key_text(one) == key_text(other)) == (repr(one) == repr(other))


@given(st.one_of(scalars, fractions))
def test_values_come_back_as_they_were(value: Value) -> None:
    found = value_of(value_text(value))
    assert (type(found), repr(found)) == (type(value), repr(value))


@given(st.one_of(st.none(), fractions))
def test_slopes_come_back_as_they_were(slope: Fraction | None) -> None:
    assert slope_of(slope_text(slope)) == slope


@pytest.mark.parametrize("text", ["", "[1]", "{}", "1/0", "1/x", "s1", "nul"])
def test_other_text_is_refused_and_named(text: str) -> None:
    with pytest.raises(StateError, match="is no value of a piece"):
        value_of(text)


def test_words_can_be_stored_everywhere() -> None:
    assert words("") is None
    assert words("a\x00b\ud800") == "a\\x00b\\ud800"
    assert key_text("\ud800") == '"\\ud800"'


def test_fraction_is_no_key() -> None:
    with pytest.raises(StateError, match="'5/2' is no key"):
        key_of("5/2")
