"""Many events at once are decoded as each by itself, whatever stands between the usual ones."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, strategies as st

from timeline_workers.columns.event_batch import Positions
from timeline_workers.events.decode import Decoder
from timeline_workers.events.rules import Decoded, Limits
from timeline_workers.metric.model import ColumnSpec

COLUMNS = {
    "state": ColumnSpec(type="string"),
    "x": ColumnSpec(type="float"),
    "n": ColumnSpec(type="int", path="a.n"),
    "flag": ColumnSpec(type="bool"),
    "any": None,
    "soft": ColumnSpec(type="string", path="state", on_bad_value="missing"),
    "count": ColumnSpec(type="int", path="other", on_bad_value="missing"),
}


FEW = 64


def decoder(unit: str = "s", many: int = FEW, **options: Any) -> Decoder:
    return Decoder(key="k", time="t", time_unit=unit, columns=COLUMNS, many=many, **options)


def assert_same(many: Decoded, single: Decoded) -> None:
    """``single`` was decoded event by event."""
    assert many.batch.keys == single.batch.keys
    assert list(map(type, many.batch.keys)) == list(map(type, single.batch.keys))
    assert many.rows.tolist() == single.rows.tolist()
    assert many.batch.key.tolist() == single.batch.key.tolist()
    assert many.batch.key.dtype == single.batch.key.dtype
    assert many.batch.time.tolist() == single.batch.time.tolist()
    assert many.batch.position.minor.tolist() == single.batch.position.minor.tolist()
    assert many.batch.columns.keys() == single.batch.columns.keys()
    for name, column in many.batch.columns.items():
        other = single.batch.columns[name]
        assert column.tags.tolist() == other.tags.tolist(), name
        assert column.bits.tolist() == other.bits.tolist(), name
        assert column.strings.names == other.strings.names, name
        assert column.strings.index == other.strings.index, name
    for one, two in zip(many.rejects, single.rejects, strict=True):
        assert (one.row, one.reason, one.message) == (two.row, two.reason, two.message)
        assert one.payload == two.payload
    assert many.missing == single.missing
    assert many.timed.tolist() == single.timed.tolist()
    assert many.times[many.timed].tolist() == single.times[single.timed].tolist()


def check(payloads: Sequence[bytes], unit: str = "s", cuts: Sequence[int] = (), **options: Any) -> Decoded:
    """Decode ``payloads`` in pieces by one decoder, and each by itself; the last piece is returned."""
    used = decoder(unit, **options)
    bounds = [0, *sorted(cut for cut in cuts if cut < len(payloads)), len(payloads)]
    for first, last in pairwise(bounds):
        places = Positions.in_input(first, last - first)
        piece = list(payloads[first:last])
        many = used.decode(piece, places)
        # What is not of type bytes is never decoded in bulk.
        single = decoder(unit, **options).decode(list(map(bytearray, piece)), places)  # type: ignore[arg-type]
        assert_same(many, single)
    return many


def clean(count: int, end: bytes = b"") -> list[bytes]:
    """Events of three forms."""
    made = []
    for i in range(count):
        event: dict[str, Any] = {"k": f"session-{i % 7}", "t": 1_000 + i}
        if i % 3 == 0:
            event |= {"state": ["play", "pause", ""][i % 7 % 3], "flag": True, "other": i / 7}
        elif i % 3 == 1:
            event |= {"x": i + i % 4 / 4, "a": {"n": -i, "m": None}, "any": None}
        else:
            event |= {"any": [i, f"text {i % 5}", i / 8][i % 9 // 3], "flag": i % 2 == 0, "list": ["a", True]}
        made.append(json.dumps(event).encode() + end)
    return made


NASTY = [
    b"",
    b" ",
    b"{}",
    b"[]",
    b"null",
    b'{"k":"s","t":1}{"k":"s","t":2}',
    b'{"k":"s","t":1}\n{"k":"s","t":2}',
    b'{"k":"s",\n"t":1}',
    b'{"k":"s","t":1,"z":{"b":1}',
    b'{"c":2}}',
    b'{"k":"s","t":1,"a":{"n":1}',
    b'{"m":2}}',
    b'{"k":"s","t":1,"list":[{"n":1}',
    b'{"m":2}]}',
    b'{"k":"s","t":1}\n',
    b'{"k":"s","t":1}\r\n\n',
    b'{"k":"s","t":1,"a":{"n":[1',
    b"2]}}",
    b'{"k":"s","t":1,"state":"x',
    b'y"}',
    b'{"k":"s","t":1,"state":"x\ny"}',
    b'{"k":"s","t":1,"state":"x\ty"}',
    b'{"k":"s","t":1,"state":"x\x00y"}',
    b'{"k":"s","t":1,"state":"x\x7fy"}',
    b'{"k": "session-1", "t": 1001, "x": 1.25, "a": {"n": -1, "m": null}, "any": null',
    b'{"k":"s","t":1,"state":"\\"","any":"\\u00e9\\n"}',
    b'{"k":"s","t":1,"state":"\\ud800"}',
    b'{"k":"s","t":1,"state":"\xff"}',
    b'{"k":"s","t":1,"other":"\xff"}',
    b'{"k":"s","t":1,"other":"\xc3',
    b'\xa9"}',
    '{"k":"käse","t":1,"state":"größe","any":"\u2028"}'.encode(),
    '{"kä":"käse","k":"größe","t":1}'.encode(),
    b'{"k":"s","t":1,"t":2,"k":"r","state":"x","state":null}',
    b'{"k":"s","t":1,"a.n":5,"a":{"n":6}}',
    b'{"k":"s","t":1,"a":{"n":6,"n":7}}',
    b'{"k":"s","t":1,"a":{"n":6},"a":{"m":7}}',
    b'{"k":"s","t":1,"a":{"n":6},"a":7}',
    b'{"k":5,"t":1}',
    b'{"k":9223372036854775808,"t":1}',
    b'{"k":-9223372036854775808,"t":1}',
    b'{"k":true,"t":1}',
    b'{"k":"","t":1}',
    b'{"k":"' + b"x" * 63 + b'","t":1}',
    b'{"k":"' + b"x" * 64 + b'","t":1}',
    b'{"k":"' + b"x" * 65 + b'","t":1}',
    b'{"k":"' + b"x" * 1100 + b'","t":1}',
    b'{"k":"s","t":1,"state":"' + b"x" * 70_000 + b'"}',
    b'{"k":"s","t":1,"other":"' + b"x" * 5_000 + b'"}',
    b'{"k":"s","t":"2024-05-01T12:30:00Z"}',
    b'{"k":"s","t":null}',
    b'{"k":"s","t":1,"any":[1]}',
    b'{"k":"s","t":1,"any":{"b":1}}',
    b'{"k":"s","t":1,"x":true}',
    b'{"k":"s","t":1,"other":' + b"[" * 3_000 + b"]" * 3_000 + b"}",
    b'\xef\xbb\xbf{"k":"s","t":1}',
]
NUMBERS = [
    *("0", "-0", "00", "01", "-01", "1", "-1", "10", "+1", ".5", "1.", "-", "--1", "1-", "1_0", "0x1", "1 2"),
    *("0.0", "-0.0", "0.5", "-0.5", "00.5", "1.5", "1.50", "1..5", "1.5.5", "1e5", "1E5", "1e+5", "1.5e-3"),
    *("9" * 15, "9" * 16, "9" * 17, "9" * 18, "9" * 19, "9" * 20, "9" * 40, "-" + "9" * 18, "-" + "9" * 19),
    *("9007199254740993", "9007199254740993.0", "0.1", "0.30000000000000004", "123456789.123456789"),
    *("0." + "3" * 24, "0." + "3" * 25, "1" * 18 + ".5", "1" * 19 + ".5", "1" * 17 + "." + "1" * 24),
    *(
        "1e999",
        "-1e999",
        "1e-999",
        "NaN",
        "Infinity",
        "-Infinity",
        "true",
        "null",
        '"1"',
        "",
        " 1",
        "1 ",
        "١",
    ),
    *("9223372036854775807", "9223372036854775808", "-9223372036854775808", "253402300800", "2.5e0"),
    *("1672531200.1", "1672531200.1234565", "1672531200.12345675", "0.0000005", "0.0000015", "4.35", "1.005"),
]
_FIELDS = ["k", "t", "x", "n", "any", "flag", "other"]


def numbered(field: str, number: str) -> bytes:
    """An event of one form for all numbers."""
    said = {"k": '"s"', "t": "1", "x": "1", "n": "1", "any": "1", "flag": "true", "other": "1"} | {
        field: number
    }
    n = said.pop("n")
    return (", ".join(["{" + f'"a": {{"n": {n}}}', *(f'"{f}": {v}' for f, v in said.items())]) + "}").encode()


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns", "iso"])
def test_templates_decode_usual_events_as_each_by_itself(end: bytes, unit: str) -> None:
    """Usual events are all decoded by templates as each by itself."""
    assert len(check(clean(300, end), unit, [100]).rejects) == (200 if unit == "iso" else 0)


def test_usual_events_fit_templates() -> None:
    used = decoder()
    events = clean(999)[::3]
    used.decode([*events, NASTY[0]], Positions.in_input(0, len(events) + 1))
    assert used.templates.fitted == len(events)


@pytest.mark.parametrize("field", _FIELDS)
@pytest.mark.parametrize("unit", ["s", "ns"])
def test_every_form_of_number_is_read_as_by_itself(field: str, unit: str) -> None:
    usual = [numbered(field, f"{i}") for i in range(FEW)] + [numbered(field, f"{i}.5") for i in range(FEW)]
    check([*usual, *(numbered(field, n) for n in NUMBERS), *usual], unit)


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_nasty_events_between_usual_ones(end: bytes) -> None:
    usual = clean(300, end)
    payloads = [p for i, one in enumerate(NASTY) for p in (*usual[5 * i : 5 * i + 5], one)]
    check(payloads, cuts=[70, 71, 170])
    check(NASTY * 2)


TWO = [
    b'{"k":"s","t":1}{"k":"s","t":2}',
    b'{"k":"s","t":1},{"k":"s","t":2}',
    b'{"k":"s","t":1} {"k":"s","t":2}',
]


@pytest.mark.parametrize("two", TWO)
@pytest.mark.parametrize(
    "one",
    [
        [b'{"k":"s","t":1,"z":{"b":1}', b'{"c":2}}'],
        [b'{"k":"s","t":1,"a":{"n":1}', b'{"m":2}}'],
        [b'{"k":"s","t":1,"list":[{"n":1}', b'{"m":2}]}'],
        [b'{"k":"s","t":1', b"}"],
        [b'{"k":"s","t":1,"a":', b'{"n":1}}'],
        [b'{"k":"s","t":1,"state":"}', b'{"}'],
        [b""],
        [b" "],
    ],
)
@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n", b" "])
def test_two_values_do_not_replace_one_in_two(one: list[bytes], two: bytes, end: bytes) -> None:
    """Nor for none at all."""
    forms = [b'{"k":"s","t":1,"list":[%d]}' % i for i in range(2 * FEW)]  # these fit no template
    every = [text + end for text in (*one, *forms, two, *forms)]
    check(every)
    check(every[::-1])


def test_events_over_the_limit_are_refused_among_usual_ones() -> None:
    limits = Limits(event_bytes=200, string_bytes=5, key_bytes=9)
    done = check([*clean(200), b'{"k":"s","t":1,"other":"' + b"x" * 200 + b'"}'], limits=limits)
    assert {r.reason for r in done.rejects} == {"too-large"}


def test_a_column_is_refused_where_it_is_an_object() -> None:
    """A column that is an object in some events is refused in these."""
    columns: dict[str, ColumnSpec | None] = {"n": None, "n.x": None}
    forms = ['"n":{"x":%d}', '"n":%d', '"m":%d', '"n":{"x":{"y":%d}}', '"n.x":%d,"n":{"x":5}']
    texts = [(f'{{"k":"s","t":1,{form}}}' % i).encode() for form in forms for i in range(2 * FEW)]
    places = Positions.in_input(0, len(texts))
    many, each = (
        Decoder(key="k", time="t", columns=columns, many=few).decode(texts, places) for few in (FEW, 10**9)
    )
    assert_same(many, each)
    assert len(many.rejects) == 6 * FEW


def test_a_name_that_is_no_text_is_no_template() -> None:
    check([*clean(100), *(b'{"k":"s","t":%d,"\xff":"x"}' % i for i in range(200)), *clean(100)])


def test_half_a_character_at_an_end_is_no_text() -> None:
    """Halves of a character at the ends of events are no text."""
    ends = [b'{"k":"s","t":1}\xc3', b'\xa9{"k":"s","t":1}'] * FEW
    assert len(check([*clean(100), *ends, *clean(100)]).rejects) == 2 * FEW


def test_strings_made_to_meet_are_told_apart() -> None:
    names = [
        f"{a}{b}" for a in ("aaaaaaa", "aaaaaaab", "b", "") for b in ("", "aaaaaaaa", "b" * 60, "c" * 57)
    ]
    payloads = [b'{"k":"%s","t":1,"state":"%s"}' % (n.encode() or b"-", n.encode()) for n in names * 10]
    check(payloads)


def test_a_refused_value_is_shown_as_it_was_sent() -> None:
    usual = [b'{"k":"s","t":%d,"x":-0.0}' % i for i in range(FEW)]
    far = b'{"k":"s","t":90000.0,"x":1.0}'
    places, published = Positions.in_input(0, FEW + 1), np.ones(FEW + 1, np.int64)
    decoded = decoder().decode([*usual, far], places, published, 80_000_000_000)
    [reject] = decoded.rejects
    assert reject.message.startswith("time 90000.0 lies 90000 s after the event was published")


_pieces = st.sampled_from(
    [b'"', b"\\", b"{", b"}", b",", b":", b"\n", b" ", b"\x00", b"\xc3", b"0", b"-", b".", b"e", b""]
)


@st.composite
def _mutated(draw: st.DrawFn) -> bytes:
    line = draw(st.sampled_from(_USUAL))
    at = draw(st.integers(0, len(line)))
    return line[:at] + draw(_pieces) + line[at + draw(st.integers(0, 2)) :]


_USUAL = clean(120)
_values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False),
    st.text(max_size=5),
    st.lists(st.integers(), max_size=2),
)
_other = st.dictionaries(st.sampled_from(["k", "t", "x", "a", "a.n", "state", "any", "z"]), _values).map(
    lambda event: json.dumps(event, ensure_ascii=False).replace("NaN", "1").encode(errors="surrogatepass")
)
_odd = st.one_of(_mutated(), _other, st.sampled_from(NASTY))


@given(
    odd=st.lists(st.tuples(st.integers(0, 400), _odd), max_size=40),
    end=st.sampled_from([b"", b"\n"]),
    unit=st.sampled_from(["s", "ms", "us", "ns", "iso"]),
    cuts=st.lists(st.integers(0, 400), max_size=3),
)
@example(odd=[], end=b"", unit="s", cuts=[])
def test_whatever_stands_between_usual_events_changes_none_of_them(
    odd: list[tuple[int, bytes]], end: bytes, unit: str, cuts: list[int]
) -> None:
    payloads = clean(200, end)
    for at, payload in odd:
        payloads.insert(at, payload)
    check(payloads, unit, cuts)


@given(
    st.lists(
        st.one_of(
            st.integers(-(10**20), 10**20).map(str),
            st.floats(allow_nan=False, allow_infinity=False).map(repr),
            st.decimals(allow_nan=False, allow_infinity=False, places=7).map(str),
            st.from_regex(r"-?[0-9]{1,20}(\.[0-9]{1,26})?", fullmatch=True),
        ),
        min_size=1,
        max_size=30,
    ),
    st.sampled_from(["k", "t", "x", "n", "any", "other"]),
    st.sampled_from(["s", "ns"]),
)
def test_numbers_are_read_to_the_last_bit(numbers: list[str], field: str, unit: str) -> None:
    usual = [numbered(field, "1"), numbered(field, "1.5")] * FEW
    check([*usual, *(numbered(field, n) for n in numbers)], unit)


_leaves = st.sampled_from([1, -2, 0.5, "x", "", True, False, None])
_names = st.sampled_from(["k", "t", "a", "n", "x", "a.n", "n.x", "z", "1"])
_forms = st.dictionaries(
    _names,
    st.recursive(
        _leaves, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_names, inner, max_size=2)
    ),
    max_size=4,
)


def varied(value: Any, i: int) -> Any:
    """The same form with other values."""
    if isinstance(value, dict):
        return {name: varied(inner, i) for name, inner in value.items()}
    if isinstance(value, list):
        return [varied(inner, i) for inner in value]
    if isinstance(value, str):
        return value + str(i % 5)
    return value if isinstance(value, bool) or value is None else value * i


@given(st.lists(_forms, min_size=1, max_size=3), st.sampled_from([None, (",", ":"), (" , ", " :\t")]))
def test_events_of_any_form_decode_as_each_alone(
    forms: list[dict[str, Any]], separators: tuple[str, str] | None
) -> None:
    """Events of any form are decoded as each by itself."""
    columns = {"a": None, "a.n": None, "n": None, "n.x": None, "x": ColumnSpec(type="float")}
    events = [varied({"k": "s", "t": 1} | form, i) for i in range(FEW + 6) for form in forms]
    texts = [json.dumps(event, separators=separators).encode() for event in events]
    places = Positions.in_input(0, len(texts))
    many, each = (
        Decoder(key="k", time="t", columns=columns, many=few).decode(texts, places) for few in (FEW, 10**9)
    )
    assert_same(many, each)
