"""Networks over batches: fan-out, fan-in and lists; batch cuts change nothing."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from hypothesis import given, strategies as st

from timeline_workers.columns.event_batch import Positions
from timeline_workers.streams.network_builder import NetworkBuilder
from timeline_workers.streams.stream_program import StreamProgram
from timeline_workers.streams.stream_stages import rows_of

COLUMNS = {"x": {"type": "int", "path": "items"}, "n": "int"}


def program() -> StreamProgram:
    net = NetworkBuilder("net")
    events = net.source("events", topic="events", key="k", time="t", columns=COLUMNS)
    each = net.stream("each", events, explode="items")
    odd = net.stream("odd", each, where="x / 2 != floor(x / 2)")
    net.stream("both", each, odd)
    net.stream("kind", "both", split={"small": "x < 3"})
    return StreamProgram(net.build())


def run(messages: list[Any], cuts: list[int]) -> tuple[dict[str, list[Any]], list[Any]]:
    """All rows by stream with their places, and what was refused, over batches cut at ``cuts``."""
    found: dict[str, list[Any]] = {}
    refused = []
    bounds = [0, *sorted({cut for cut in cuts if 0 < cut < len(messages)}), len(messages)]
    running = program()
    for start, end in pairwise(bounds):
        outcome = running.read("events", messages[start:end], Positions.in_input(start, end - start))
        for name, batches in outcome.streams.items():
            for batch in batches:
                places = zip(batch.events.position.minor.tolist(), batch.sub.tolist(), strict=True)
                rows = zip(places, rows_of(batch), strict=True)
                found.setdefault(name, []).extend((place, row["key"], row["x"]) for place, row in rows)
        for name, some in outcome.refused.items():
            refused += [(name, one.row + start, one.sub, one.reason) for one in some]
    return found, refused


def test_of_a_list_the_wrong_element_is_refused_alone() -> None:
    """[a, error, b]: a and b go on, the error is named with its reason, and the next event is processed."""
    found, refused = run([{"k": "a", "t": 1, "items": [1, "error", 2]}, {"k": "b", "t": 2, "items": [3]}], [])
    assert found["each"] == [((0, 0), "a", 1), ((0, 2), "a", 2), ((1, 0), "b", 3)]
    assert refused == [("each", 0, 1, "wrong-type")]


def test_messages_that_are_no_list_or_no_event() -> None:
    messages = [b"{", {"k": "a", "t": 1, "items": 5}, {"k": "a", "t": 1}, {"k": "a", "t": 1, "items": []}]
    found, refused = run([*messages, b'{"k": "b", "t": 2, "items": [4]}'], [])
    assert found["each"] == [((4, 0), "b", 4)]
    assert refused == [("each", 0, 0, "malformed-json"), ("each", 1, None, "not-a-list")]


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "k": st.sampled_from("ab"),
                "t": st.integers(0, 9),
                "items": st.lists(st.integers(0, 5), max_size=4),
            }
        ),
        max_size=6,
    ),
    st.lists(st.integers(0, 6)),
)
def test_fan_out_and_fan_in_in_any_cuts(messages: list[Any], cuts: list[int]) -> None:
    """Every target has every event; a merger keeps the order of each input and tells its rows apart."""
    found, refused = run(messages, cuts)
    assert not refused
    each = [((at, sub), m["k"], x) for at, m in enumerate(messages) for sub, x in enumerate(m["items"])]
    odd = [row for row in each if row[2] % 2]
    both = found.get("both", [])
    assert found.get("each", []) == each
    assert found.get("odd", []) == odd
    assert [((at, sub // 2), k, x) for (at, sub), k, x in both if sub % 2 == 0] == each
    assert [((at, sub // 2), k, x) for (at, sub), k, x in both if sub % 2 == 1] == odd
    assert len({place for place, _, _ in both}) == len(both)
    assert sorted(found.get("kind.small", []) + found.get("kind.rest", [])) == sorted(both)
    assert all(x < 3 for _, _, x in found.get("kind.small", []))
