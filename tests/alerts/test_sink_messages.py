"""Batches for sinks: each message is taken once, in order, however often and in whatever cut it is sent."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, strategies as st

from timeline_workers.alerts.episodes import Message
from timeline_workers.alerts.sink_messages import (
    SinkBatch,
    SinkMessage,
    pack_sink_batch,
    sink_batches,
    sink_id,
    unpack_sink_batch,
)
from timeline_workers.errors import StateError

ORIGIN = "alert-r-0123456789.p0"


def _message(number: int, key: str | int = "k", text: str = "t") -> SinkMessage:
    message = Message(
        kind="fire",
        rule="r",
        key=key,
        episode=f"r/{key}/{number}",
        seq=1,
        start=number,
        as_of=number,
        page=True,
        new=True,
    )
    return SinkMessage(message, f"title {number}", text)


def test_a_batch_is_plain_json_and_comes_back_equal() -> None:
    """Keys that are numbers stay numbers."""
    batch = SinkBatch(ORIGIN, 1_796_000_000_000_001, (_message(1), _message(2, key=7)))
    packed = json.loads(json.dumps(pack_sink_batch(batch)))
    assert unpack_sink_batch(packed) == batch
    assert packed["messages"][1]["message"]["key"] == 7
    assert batch.last == 1_796_000_000_000_002


@pytest.mark.parametrize("packed", [None, {}, {"origin": "o", "sequence": "1", "messages": []}, [1], b""])
def test_anything_else_is_refused(packed: object) -> None:
    """The error says of what it is none."""
    with pytest.raises(StateError, match="no batch of alerts' messages"):
        unpack_sink_batch(packed)


@given(
    sent=st.lists(
        st.tuples(st.integers(0, 11), st.integers(0, 12), st.integers(1, 2_000)), min_size=1, max_size=12
    )
)
def test_each_message_is_taken_once(sent: list[tuple[int, int, int]]) -> None:
    """Any stretch that begins with what is known is sent, cut anyhow: a sink has each once, in order."""
    all_of_them = [_message(number, text="x" * (number * 37 % 400)) for number in range(12)]
    last, taken = 99, []
    for back, forth, most_bytes in sent:
        known = last - 99
        first = max(0, known - back)
        some = all_of_them[first : max(known, forth)]
        batches = list(sink_batches(ORIGIN, 100 + first, some, most_bytes))
        assert [one for batch in batches for one in batch.messages] == some
        for batch in batches:
            taken += batch.after(last)
            last = max(last, batch.last)
    assert taken == all_of_them[: last - 99]


def test_a_large_message_is_a_batch_by_itself() -> None:
    """Nothing is left out."""
    many = [_message(n, text="x" * 100) for n in range(3)]
    assert [len(b.messages) for b in sink_batches(ORIGIN, 1, many, 50)] == [1, 1, 1]
    assert [b.sequence for b in sink_batches(ORIGIN, 1, many, 50)] == [1, 2, 3]


def test_the_id_of_a_sink() -> None:
    """One for each target and partition."""
    assert sink_id("pager", "p0") == "sink-pager.p0"
