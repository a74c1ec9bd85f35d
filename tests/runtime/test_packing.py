"""Whatever columns are packed come back the same, and no bytes crash the decoders."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, strategies as st

from timeline_workers.columns.values import Flags, Linear, Tagged
from timeline_workers.errors import StateError
from timeline_workers.wire.edge_messages import open_message
from timeline_workers.wire.encoding import pack, pack_ints, pack_values, unpack, unpack_ints, unpack_values
from timeline_workers.wire.leaf_batch import decode_leaf_batch

INTS = st.one_of(st.integers(-3, 3), st.integers(-(2**63), 2**63 - 1), st.sampled_from([-(2**63), 2**63 - 1]))


@given(st.lists(INTS, max_size=40))
def test_ints_come_back_the_same(numbers: list[int]) -> None:
    """Any 64-bit ints, also steps that do not fit 64 bits."""
    column = np.array(numbers, np.int64)
    assert unpack_ints(unpack(pack({"c": pack_ints(column)}))["c"]).tolist() == numbers


@given(st.lists(st.one_of(st.none(), st.booleans(), INTS, st.floats(allow_nan=False), st.text(max_size=3))))
def test_tagged_values_keep_value_and_type(items: list[bool | int | float | str | None]) -> None:
    """Types and values survive; of the string table only what is used travels."""
    back = unpack_values(unpack(pack({"c": pack_values(Tagged.of(items))}))["c"])
    assert isinstance(back, Tagged)
    found = [back.item(i) for i in range(len(back))]
    assert [(type(x), x) for x in found] == [(type(x), x) for x in items]


@given(st.lists(st.tuples(st.booleans(), st.fractions(), INTS), min_size=1))
def test_lines_come_back_the_same(rows: list[tuple[bool, Fraction, int]]) -> None:
    """Exact values beyond 64 bits travel as fractions."""
    num = np.empty(len(rows), np.object_)
    num[:] = [row[1] for row in rows]
    known = np.array([row[0] for row in rows])
    slope = np.array([row[2] for row in rows], np.int64)
    back = unpack_values(unpack(pack({"c": pack_values(Linear(known, num, slope))}))["c"])
    assert isinstance(back, Linear)
    assert (back.known == known).all()
    assert back.num.tolist() == num.tolist()
    assert back.slope.tolist() == slope.tolist()


@given(st.lists(st.booleans()))
def test_flags_come_back_the_same(flags: list[bool]) -> None:
    """Also when their number is no multiple of eight."""
    back = unpack_values(unpack(pack({"c": pack_values(Flags(np.array(flags, np.bool_)))}))["c"])
    assert isinstance(back, Flags)
    assert back.data.tolist() == flags


_plain = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3) | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
_names = st.sampled_from(
    [
        "keys",
        "origins",
        "key",
        "time",
        "position",
        "values",
        "progress",
        "from",
        "epoch",
        "sequence",
        "suffix",
        "froms",
    ]
)


@pytest.mark.parametrize("decode", [unpack, decode_leaf_batch, open_message])
@given(payload=st.one_of(st.binary(max_size=60), st.dictionaries(_names, _plain, max_size=8).map(pack)))
def test_bytes_that_are_no_message_raise_state_errors_only(decode, payload: bytes) -> None:  # type: ignore[no-untyped-def]
    """Damaged or foreign bytes are refused with the library's own error."""
    try:
        decode(payload)
    except StateError:
        return
