"""Event times: exact conversion to whole microseconds and back."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, strategies as st

from timeline_workers.errors import EventError, QuestionError
from timeline_workers.events.times import (
    EARLIEST,
    LATEST,
    floats_to_microseconds,
    from_microseconds,
    ints_to_microseconds,
    iso_to_microseconds,
    question_time,
    read_time,
    to_microseconds,
)

PER_UNIT = {"s": Fraction(10**6), "ms": Fraction(10**3), "us": Fraction(1), "ns": Fraction(1, 1000)}
UNITS = sorted(PER_UNIT)
# Up to here doubles of seconds are less than a microsecond apart.
EXACT_FLOAT_SECONDS = 2**33 * 10**6

instants = st.integers(EARLIEST, LATEST)
any_ints = st.integers(-(2**63), 2**63 - 1)
any_floats = st.one_of(
    st.floats(),
    st.floats(-1e10, 1e10),
    st.floats(1.6e9, 1.8e9),
    st.floats(1.6e12, 1.8e12),
    st.floats(1.6e18, 1.8e18),
    st.integers(-(10**18), 10**18).map(lambda n: n / 1e7),  # halves of microseconds, and near them
)


def rounded_half_even(exact: Fraction) -> int:
    return round(exact)


@given(st.sampled_from(UNITS), any_ints)
def test_ints_are_truncated_toward_the_past(unit: str, value: int) -> None:
    expected = math.floor(value * PER_UNIT[unit])
    if EARLIEST <= expected <= LATEST:
        assert to_microseconds(value, unit) == expected
    else:
        with pytest.raises(EventError, match="years 1 to 9999") as caught:
            to_microseconds(value, unit)
        assert caught.value.reason == "bad-time"


@given(st.sampled_from(UNITS), any_floats)
@example("s", 0.1)
@example("s", 1672531200.1234565)
@example("s", 0.0000005)
@example("s", 0.0000015)
@example("ms", 1672531200123.0005)
@example("us", 2.5)
@example("s", 253402300799.9999999)
def test_floats_are_rounded_from_their_printed_decimal(unit: str, value: float) -> None:
    """Floats are rounded half to even from the decimal they print as."""
    expected = rounded_half_even(Fraction(repr(value)) * PER_UNIT[unit]) if math.isfinite(value) else None
    if expected is not None and EARLIEST <= expected <= LATEST:
        assert to_microseconds(value, unit) == expected
    else:
        with pytest.raises(EventError):
            to_microseconds(value, unit)


@given(st.sampled_from(UNITS), st.lists(any_floats))
def test_whole_arrays_of_floats_convert_as_one_float_does(unit: str, values: list[float]) -> None:
    result, good = floats_to_microseconds(np.array(values, np.float64), unit)
    for value, got, fine in zip(values, result.tolist(), good.tolist(), strict=True):
        if fine:
            assert got == to_microseconds(value, unit)
        else:
            with pytest.raises(EventError):
                to_microseconds(value, unit)


@given(st.sampled_from(UNITS), st.lists(any_ints))
@example("s", [-62135596800, -62135596801, 253402300799, 253402300800])
@example("ms", [-62135596800000, 253402300799999, 253402300800000])
def test_whole_arrays_of_ints_convert_as_one_int_does(unit: str, values: list[int]) -> None:
    result, good = ints_to_microseconds(np.array(values, np.int64), unit)
    for value, got, fine in zip(values, result.tolist(), good.tolist(), strict=True):
        if fine:
            assert got == to_microseconds(value, unit)
        else:
            with pytest.raises(EventError):
                to_microseconds(value, unit)


@given(st.sampled_from(["us", "ns", "iso"]), instants)
def test_conversion_there_and_back_gives_the_same_microsecond(unit: str, instant: int) -> None:
    assert to_microseconds(from_microseconds(instant, unit), unit) == instant


@given(st.sampled_from(["s", "ms"]), st.integers(EARLIEST, EXACT_FLOAT_SECONDS))
@example("s", 1672531200123456)
def test_seconds_and_milliseconds_round_trip_until_the_year_2242(unit: str, instant: int) -> None:
    if instant < -EXACT_FLOAT_SECONDS:
        instant //= 8
    assert to_microseconds(from_microseconds(instant, unit), unit) == instant


@given(st.sampled_from(["s", "ms"]), instants)
def test_a_whole_time_comes_back_as_an_int(unit: str, instant: int) -> None:
    """A time that is whole in its unit comes back as an int."""
    whole = instant // int(PER_UNIT[unit])
    answer = from_microseconds(whole * int(PER_UNIT[unit]), unit)
    assert answer == whole
    assert type(answer) is int


_common = st.datetimes().map(lambda t: t.isoformat() + "Z")


@st.composite
def _nearly_iso(draw: st.DrawFn) -> str:
    text = draw(_common)
    at = draw(st.integers(0, len(text) - 1))
    other = draw(st.sampled_from([*"0123456789.:-TZ zt/+", "", "00", "\x00", "\u0661"]))
    return text[:at] + other + text[at + 1 :]


@given(st.lists(st.one_of(_common, _nearly_iso(), st.text(max_size=30))))
@example(["2024-02-29T00:00:00Z", "2023-02-29T00:00:00Z", "1900-02-29T00:00:00Z", "2000-02-29T23:59:59.1Z"])
@example(
    ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "0000-01-01T00:00:00Z", "2024-13-01T00:00:00Z"]
)
@example(["2024-05-01T12:30:60Z", "2024-05-01T24:00:00Z", "2024-05-01T12:60:00Z", "2024-05-01T12:30:00.Z"])
@example(["2024-05-01T12:30:00.1234567Z", "2024-05-01T12:30:00.12Z\x00", "2024-05-00T12:30:00Z", "x" * 300])
def test_iso_texts_convert_together_as_each_by_itself(texts: list[str]) -> None:
    together, taken = iso_to_microseconds(texts)
    for text, value, is_taken in zip(texts, together.tolist(), taken.tolist(), strict=True):
        assert value == (to_microseconds(text, "iso") if is_taken else 0)


def test_the_common_form_of_iso_texts_is_taken_together() -> None:
    texts = ["2024-05-01T12:30:00Z", "2024-05-01T12:30:00.5Z", "2024-05-01T12:30:00.123456Z"]
    assert iso_to_microseconds(texts)[1].all()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01", 0),
        ("1970-01-01T00:00:01", 1_000_000),
        ("1970-01-01 00:00:01.5", 1_500_000),
        ("1970-01-01T02:00:00+02:00", 0),
        ("1970-01-01T00:00:00-0530", 19_800_000_000),
        ("1970-01-01t00:00:00.000001z", 1),
        ("1970-01-01T00:00:00.0000019Z", 1),
        ("1969-12-31T23:59:59.9999999Z", -1),
        ("1970-01-01T00:00:00,25Z", 250_000),
        ("0001-01-01T00:00:00Z", EARLIEST),
        ("9999-12-31T23:59:59.999999999Z", LATEST),
    ],
)
def test_iso_text_is_truncated_below_the_microsecond(text: str, expected: int) -> None:
    """Iso text is read with offsets and truncated below the microsecond."""
    assert to_microseconds(text, "iso") == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2024-13-01",
        "2024-01-01T25:00Z",
        "2024-01-01T10:00.5",
        "1672531200",
        "2024-01-01T00:00:60Z",
    ],
)
def test_text_that_is_no_iso_time_is_refused(text: str) -> None:
    with pytest.raises(EventError, match="ISO 8601") as caught:
        to_microseconds(text, "iso")
    assert caught.value.reason == "bad-time"


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+05:00", "9999-12-31T23:00:00-05:00"])
def test_an_offset_beyond_the_years_is_refused(text: str) -> None:
    """An offset that leaves the years 1 to 9999 is refused."""
    with pytest.raises(EventError, match="years 1 to 9999"):
        to_microseconds(text, "iso")


@pytest.mark.parametrize(
    ("value", "unit", "words"),
    [
        (True, "s", "not a time"),
        ([], "s", "not a time"),
        ("5", "s", "unit iso"),
        (5, "iso", "a number"),
        (math.nan, "s", "finite"),
        (-math.inf, "ms", "finite"),
        (10**30, "ns", "years"),
    ],
)
def test_a_refused_time_names_its_value_and_fix(value: object, unit: str, words: str) -> None:
    """What is no time is refused with its value and the fix."""
    with pytest.raises(EventError, match=words) as caught:
        to_microseconds(value, unit)
    assert caught.value.reason == "bad-time"
    assert repr(value)[:20] in str(caught.value)


def test_a_missing_time_has_its_own_reason() -> None:
    with pytest.raises(EventError) as caught:
        to_microseconds(None, "s")
    assert caught.value.reason == "missing-time"


@pytest.mark.parametrize("unit", [*UNITS, "iso"])
def test_datetimes_are_taken_whatever_the_unit(unit: str) -> None:
    """Datetimes are taken whatever the unit and naive ones are utc."""
    naive = datetime(2024, 5, 1, 12, 0, 0, 7)
    zoned = naive.replace(tzinfo=UTC).astimezone(timezone(timedelta(hours=-7)))
    assert to_microseconds(naive, unit) == to_microseconds(zoned, unit) == 1_714_564_800_000_007


def test_a_wrong_time_or_unit_is_a_question_error() -> None:
    """A question with a wrong time or unit is a question error."""
    with pytest.raises(QuestionError, match="'sec' is not a time unit"):
        question_time(1, "sec")
    with pytest.raises(QuestionError, match="needs a time"):
        question_time(None, "s")
    with pytest.raises(QuestionError, match="years"):
        question_time(1e300, "s")


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [
        ("-5", "s", -5),
        ("1e3", "s", 1000.0),
        ("9007199254740993", "ns", 9007199254740993),
        ("2024-01-01", "iso", None),
    ],
)
def test_an_argument_is_read_as_the_number_it_is(text: str, unit: str, value: float | None) -> None:
    read = read_time(text, unit)
    assert read == (text if value is None else value)
    assert type(read) is (str if value is None else type(value))


@pytest.mark.parametrize(("text", "unit"), [("noon", "s"), ("nan", "s"), ("2024-01-01", "ms"), ("5", "iso")])
def test_an_argument_that_is_no_time_is_refused(text: str, unit: str) -> None:
    """An argument that is no time in the unit is refused."""
    with pytest.raises(QuestionError):
        read_time(text, unit)
