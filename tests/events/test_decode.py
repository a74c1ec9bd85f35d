"""Events in JSON: what is accepted, as what, and what is refused for which reason."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

from timeline_workers.columns.event_batch import Positions
from timeline_workers.columns.values import FLOAT, INT
from timeline_workers.events.decode import Decoder, Payload
from timeline_workers.events.rules import Decoded, Limits
from timeline_workers.metric.model import ColumnSpec, Source

BIG = 2**63


def decode(payloads: Sequence[Payload], columns: Any = ("a",), **options: Any) -> Decoded:
    decoder = Decoder(key="k", time="t", columns=columns, **options)
    return decoder.decode(payloads, Positions.in_input(0, len(payloads)))


def event(**fields: Any) -> bytes:
    return json.dumps({"k": "s1", "t": 1, **fields}).encode()


def values(decoded: Decoded, name: str = "a") -> list[Any]:
    column = decoded.batch.columns[name]
    return [column.item(i) for i in range(len(column))]


def same(a: list[Any], b: list[Any]) -> bool:
    return a == b and [type(v) for v in a] == [type(v) for v in b]


def reasons(decoded: Decoded) -> list[str]:
    return [reject.reason for reject in decoded.rejects]


def test_values_keep_their_types_and_missing_is_null() -> None:
    decoded = decode(
        [event(a=v) for v in (1, 1.0, True, "x", None, -0.0, 2**63 - 1, -(2**63))] + [event(b=1)]
    )
    assert same(values(decoded), [1, 1.0, True, "x", None, 0.0, 2**63 - 1, -(2**63), None])
    assert math.copysign(1, values(decoded)[5]) == 1


def test_an_int_key_is_not_its_text() -> None:
    """Keys are numbered and an int key is not its text."""
    decoded = decode([event(k=k) for k in (7, "7", "b", 7, -(2**63))])
    batch = decoded.batch
    names = [batch.keys[i] for i in batch.key.tolist()]
    assert same(names, [7, "7", "b", 7, -(2**63)])
    assert len(batch.keys) == 4
    assert batch.key.dtype == np.int32


def test_a_refused_event_leaves_no_key_behind() -> None:
    decoded = decode([event(k="gone", t="x"), event(k="here"), event(k=5, t=None)])
    assert decoded.batch.keys == ["here"]
    assert decoded.rows.tolist() == [1]
    assert decoded.batch.position.minor.tolist() == [1]
    assert [(r.row, r.reason) for r in decoded.rejects] == [(0, "bad-time"), (2, "missing-time")]


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "malformed-json"),
        (b"   ", "malformed-json"),
        (b"{", "malformed-json"),
        (b"[1]", "malformed-json"),
        (b"null", "malformed-json"),
        (b'{"k":"s","t":1} x', "malformed-json"),
        (b'{"k":"s","t":1,"a":NaN}', "malformed-json"),
        (b'{"k":"s","t":1,"unused":Infinity}', "malformed-json"),
        (b'{"k":"s","t":1,"a":"\xff"}', "malformed-json"),
        (b'{"k":"s","t":1,"unused":"\xff"}', "malformed-json"),
        (b'{"k":"s","t":1,"a":"\\ud800"}', "malformed-json"),
        (b'{"k":"s","t":1,"a":' + b"[" * 50_000 + b"]" * 50_000 + b"}", "malformed-json"),
        (b'{"t":1}', "missing-key"),
        (b'{"k":null,"t":1}', "missing-key"),
        (b'{"k":"","t":1}', "missing-key"),
        (b'{"k":true,"t":1}', "wrong-key-type"),
        (b'{"k":1.0,"t":1}', "wrong-key-type"),
        (b'{"k":{},"t":1}', "wrong-key-type"),
        (b'{"k":9223372036854775808,"t":1}', "int-out-of-range"),
        (b'{"k":"s"}', "missing-time"),
        (b'{"k":"s","t":null}', "missing-time"),
        (b'{"k":"s","t":"1"}', "bad-time"),
        (b'{"k":"s","t":true}', "bad-time"),
        (b'{"k":"s","t":1e300}', "bad-time"),
        (b'{"k":"s","t":1e999}', "bad-time"),
        (b'{"k":"s","t":[1]}', "bad-time"),
        (b'{"k":"s","t":253402300800}', "bad-time"),
        (b'{"k":"s","t":1,"a":[1]}', "wrong-type"),
        (b'{"k":"s","t":1,"a":{"b":1}}', "wrong-type"),
        (b'{"k":"s","t":1,"a":9223372036854775808}', "int-out-of-range"),
        (b'{"k":"s","t":1,"a":-9223372036854775809}', "int-out-of-range"),
        (b'{"k":"s","t":1,"a":18446744073709551616}', "int-out-of-range"),
        (b'{"k":"s","t":1,"a":' + b"9" * 6_000 + b"}", "int-out-of-range"),
        (b'{"k":"s","t":1,"a":1e999}', "not-finite"),
        (b'{"k":"s","t":1,"a":"' + b"x" * 70_000 + b'"}', "too-large"),
        (b'{"k":"' + b"x" * 2_000 + b'","t":1}', "too-large"),
        (b'{"k":"s","t":1,"unused":"' + b"x" * 1_100_000 + b'"}', "too-large"),
    ],
)
@pytest.mark.parametrize("as_text", [False, True])
def test_a_bad_event_is_refused_whole_with_its_reason(payload: bytes, reason: str, as_text: bool) -> None:
    # Bytes that no text holds become half surrogates, which are no better.
    """A bad event is refused whole with its reason and hurts no other."""
    given_payload: Payload = payload.decode(errors="surrogateescape") if as_text else payload
    decoded = decode([event(a=1), given_payload, event(a=2)])
    assert values(decoded) == [1, 2]
    assert reasons(decoded) == [reason]
    assert decoded.rejects[0].row == 1
    assert decoded.rejects[0].payload == given_payload
    assert decoded.rejects[0].message


@pytest.mark.parametrize(
    "unused", ["9" * 6_000, "1e999", "[[1]]", '{"a":{"k":5}}', '"' + "x" * 70_000 + '"', '"\\u0000"']
)
def test_unknown_fields_are_ignored_whatever_they_hold(unused: str) -> None:
    decoded = decode([f'{{"z":{unused},"k":"s","t":1,"a":"x"}}'.encode()])
    assert values(decoded) == ["x"]


def test_of_a_field_given_twice_the_last_counts() -> None:
    twice = [b'{"k":"s","t":1,"a":1,"a":2}', b'{"k":"s","t":1,"a":[],"a":3}']
    assert values(decode(twice)) == [2, 3]


@pytest.mark.parametrize(
    ("declared", "good", "stored", "bad"),
    [
        ("bool", [True, None], [True, None], [1, "true"]),
        ("int", [1, None], [1, None], [1.0, True, "1"]),
        ("float", [1, 1.5, None, 2**53 + 1], [1.0, 1.5, None, float(2**53)], [True, "1"]),
        ("string", ["", "x", None], ["", "x", None], [1, False]),
    ],
)
def test_a_declared_column_takes_its_type_only(
    declared: Any, good: list[Any], stored: list[Any], bad: list[Any]
) -> None:
    """A declared column takes its type only and floats take ints."""
    columns = {"a": ColumnSpec(type=declared)}
    decoded = decode([event(a=v) for v in good + bad], columns)
    assert same(values(decoded), stored)
    assert reasons(decoded) == ["wrong-type"] * len(bad)
    assert all(f"declared {declared}" in r.message for r in decoded.rejects)


@pytest.mark.parametrize(
    ("needs", "good", "bad"),
    [("bool", [True], [1, "x"]), ("number", [1, 2.5], [True, "x"]), ("string", ["x"], [1, True])],
)
def test_an_undeclared_column_has_the_type_compared_with(needs: Any, good: list[Any], bad: list[Any]) -> None:
    """An undeclared column must have the type it is compared with."""
    decoded = decode([event(a=v) for v in good + bad], requirements={"a": needs})
    assert same(values(decoded), good)
    assert reasons(decoded) == ["wrong-type"] * len(bad)


def test_a_dotted_field_comes_before_a_nested_one() -> None:
    """A path names the dotted field if there is one and else a nested one."""
    payloads = [
        event(n={"x": {"y": 1}}),
        event(n={"x.y": 2}),
        event(**{"n.x.y": 3}, n={"x": {"y": 4}}),
        event(**{"n.x.y": None}, n={"x": {"y": 4}}),
        event(n=5),
        event(n="text"),
        event(n={"x": 6}),
        event(n=[1]),
    ]
    parsed: list[Payload] = [json.loads(p) for p in payloads]
    for events in (payloads, parsed):
        decoded = decode(events, ["n.x.y"])
        assert values(decoded, "n.x.y") == [1, 2, 3, None, None, None, None, None]


def test_one_path_may_lead_through_anothers_value() -> None:
    """A column may be an object in one path and a value in another."""
    decoded = decode([event(n={"x": 1}), event(n=2), event()], {"n": None, "n.x": None})
    assert reasons(decoded) == ["wrong-type"]
    assert values(decoded, "n") == [2, None]


def test_a_source_says_where_its_columns_come_from() -> None:
    source = Source(
        topic="e",
        key="ids.session",
        time="at",
        time_unit="iso",
        columns={"device": ColumnSpec(type="string", path="attributes.device"), "n": ColumnSpec(type="int")},
    )
    payload = {"ids": {"session": 4}, "at": "1970-01-01T00:00:01Z", "attributes": {"device": "tv"}, "n": "x"}
    both = Decoder.for_source(source).decode([payload], Positions.in_input(0, 1))
    assert reasons(both) == ["wrong-type"]
    one = Decoder.for_source(source, only=["device"]).decode([payload], Positions.in_input(0, 1))
    assert values(one, "device") == ["tv"]
    assert one.batch.keys == [4]
    assert one.batch.time.tolist() == [1_000_000]


def test_a_misfit_is_missing_where_the_column_allows_it() -> None:
    """Also where another column is read from the same field, and with whatever else is wrong with a value."""
    columns = {
        "n": ColumnSpec(type="int", on_bad_value="missing"),
        "text": ColumnSpec(type="string", path="n", on_bad_value="missing"),
        "s": ColumnSpec(type="string"),
    }
    rows: list[Payload] = [
        event(n=1),
        event(n="x"),
        event(n=1.5),
        event(n=2**70),
        event(n=[1]),
        event(n="y" * 70_000),
        event(n=True, s=1),
        event(n=None),
    ]
    decoded = decode(rows, columns)
    assert same(values(decoded, "n"), [1, None, None, None, None, None, None])
    assert same(values(decoded, "text"), [None, "x", None, None, None, None, None])
    assert decoded.batch.columns["text"].strings.names == ["x"]
    assert [(m.row, m.column, m.reason) for m in decoded.missing] == [
        (0, "text", "wrong-type"),
        (1, "n", "wrong-type"),
        (2, "n", "wrong-type"),
        (2, "text", "wrong-type"),
        (3, "n", "int-out-of-range"),
        (3, "text", "int-out-of-range"),
        (4, "n", "wrong-type"),
        (4, "text", "wrong-type"),
        (5, "n", "wrong-type"),
        (5, "text", "too-large"),
    ]
    assert [(r.row, r.reason) for r in decoded.rejects] == [(6, "wrong-type")]
    assert decoded.timed.all()


def test_a_time_too_far_ahead_is_refused() -> None:
    """A time too far after its publish time is refused."""
    decoder = Decoder(key="k", time="t")
    published = np.array([1_000_000, 1_000_000, 11_000_000, 0], np.int64)  # 0: there is no publish time
    decoded = decoder.decode(
        [event(t=61), event(t=62), event(t=71), event(t=99)], Positions.in_input(0, 4), published, 60_000_000
    )
    assert decoded.batch.time.tolist() == [61_000_000, 71_000_000, 99_000_000]
    assert reasons(decoded) == ["time-too-far-ahead"]
    assert "62" in decoded.rejects[0].message


def test_size_limits_count_bytes_and_can_be_set() -> None:
    """Sizes are counted in bytes of utf8 and can be set."""
    limits = Limits(event_bytes=200, string_bytes=4, key_bytes=4)
    decoded = decode([event(a="äö"), event(a="äöü"), event(k="äöü"), event(z="x" * 200)], limits=limits)
    assert values(decoded) == ["äö"]
    assert reasons(decoded) == ["too-large"] * 3


def test_a_refused_string_is_not_in_the_table() -> None:
    """What was refused for its size is not kept in the string table."""
    decoded = decode([event(a="x" * 70_000), event(a="y"), event(a="z")])
    assert decoded.batch.columns["a"].strings.names == ["y", "z"]
    assert values(decoded) == ["y", "z"]


def test_mappings_may_hold_numpy_scalars_and_datetimes_as_times() -> None:
    rows: list[Payload] = [
        {"k": np.str_("s"), "t": np.int64(1), "a": np.float64(1.5)},
        {"k": "s", "t": np.datetime64("1970-01-01T00:00:02", "us").item(), "a": np.bool_(True)},
        {"k": "s", "t": 1, "a": math.nan},
        {"k": "s", "t": 1, "a": b"x"},
        {"k": "s", "t": 1, "a": "\ud800"},
    ]
    decoded = decode(rows)
    assert same(values(decoded), [1.5, True])
    assert decoded.batch.time.tolist() == [1_000_000, 2_000_000]
    assert reasons(decoded) == ["not-finite", "wrong-type", "malformed-json"]


def test_what_is_no_event_at_all_is_refused() -> None:
    assert reasons(decode([5, None, (1, 2)])) == ["malformed-json"] * 3  # type: ignore[list-item]


def test_no_events_give_an_empty_batch() -> None:
    decoded = decode([])
    assert len(decoded.batch) == 0
    assert decoded.rejects == []


_scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=5),
)
_objects = st.dictionaries(
    st.sampled_from(["k", "t", "a", "n", "n.x", "x", "other"]),
    st.one_of(
        _scalars, st.lists(_scalars, max_size=2), st.dictionaries(st.sampled_from(["x", "y"]), _scalars)
    ),
    max_size=6,
)


@given(st.lists(_objects, max_size=8))
def test_json_text_and_the_same_mapping_are_decoded_alike(rows: list[dict[str, Any]]) -> None:
    columns = {"a": None, "n": None, "n.x": None, "f": ColumnSpec(type="float", path="other")}
    texts = decode([json.dumps(row).encode() for row in rows], columns)
    parsed = decode(list(rows), columns)
    assert [(r.row, r.reason) for r in texts.rejects] == [(r.row, r.reason) for r in parsed.rejects]
    assert texts.batch.time.tolist() == parsed.batch.time.tolist()
    assert [texts.batch.keys[i] for i in texts.batch.key] == [parsed.batch.keys[i] for i in parsed.batch.key]
    for name in columns:
        assert same(values(texts, name), values(parsed, name))


@given(st.lists(_objects, max_size=8))
def test_an_event_is_either_accepted_or_refused(rows: list[dict[str, Any]]) -> None:
    """Every event is either in the batch or refused and never both."""
    decoded = decode(list(rows))
    assert sorted([*decoded.rows.tolist(), *(r.row for r in decoded.rejects)]) == list(range(len(rows)))
    for i, row in enumerate(decoded.rows.tolist()):
        assert same([decoded.batch.keys[decoded.batch.key[i]]], [rows[row]["k"]])
        assert decoded.batch.columns["a"].tags[i] in (0, 1, INT, FLOAT, 4)


@given(st.lists(st.binary(max_size=40), max_size=5))
def test_no_bytes_whatever_raise(payloads: list[bytes]) -> None:
    decoded = decode(list(payloads))
    assert len(decoded.batch) + len(decoded.rejects) == len(payloads)
