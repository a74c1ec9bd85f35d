"""The sample producers."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, strategies as st
from typer.testing import CliRunner

from producer import disorder, generate_cards, generate_playback, jsonl
from producer.__main__ import app
from producer.event import Event
from producer.generate_worked_example import WORKED_EXAMPLE, worked_example

BODY = {"device": "mobile", "os": "android", "browser": "chrome", "location": "US"}


def parsed(events: Any) -> list[dict[str, Any]]:
    return [json.loads(e.payload) for e in events]


def test_the_sample_has_the_documented_form() -> None:
    first = parsed(generate_playback.sample(1))[0]
    assert first == {
        "event": "init",
        "timestamp": 1672531200,
        "playback_session_id": "session-0000",
        "video": "video-000",
        "duration": 60,
        "attributes": BODY,
    }


def test_sessions_follow_from_their_seed() -> None:
    one, same = (list(generate_playback.sessions(5, 100, seed=3)) for _ in range(2))
    assert one == same
    assert one != list(generate_playback.sessions(5, 100, seed=4))


@pytest.mark.parametrize(("count", "events"), [(1, 1), (3, 10), (10, 3), (7, 500), (2, 0)])
def test_the_events_asked_for_are_in_order(count: int, events: int) -> None:
    """Exactly the events asked for are made in order of time."""
    made = list(generate_playback.sessions(count, events))
    assert len(made) == events
    assert all(a.time <= b.time for a, b in pairwise(made))
    assert len({e.key for e in made}) == min(count, events)


def test_a_session_begins_with_init_and_ends_stopped() -> None:
    by_key: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for event in generate_playback.sessions(20, 800, seed=1):
        by_key[event.key].append(json.loads(event.payload))
    for events in by_key.values():
        assert events[0]["playerStateChange"] == "init"
        assert events[-1]["playerStateChange"] == "stopped"
        times = [e["timestamp"] for e in events]
        assert times == sorted(times)
        assert len(set(times)) == len(times)
    columns = Counter(name for events in by_key.values() for e in events for name in e)
    assert {"playerStateChange", "userAction", "cdnChange", "bitrate"} <= columns.keys()


def test_an_event_time_is_the_one_in_its_payload() -> None:
    for event in generate_playback.sessions(3, 50):
        assert json.loads(event.payload)["timestamp"] == event.time


def test_some_cards_jump_far_within_a_minute() -> None:
    """Some cards jump far and spend much within a minute."""
    made = parsed(generate_cards.cards(40, 800, seed=2))
    outliers = [e for e in made if e.get("km", 0) > 900 * e.get("hours", 1)]
    assert len(outliers) == 2  # one card in twenty of forty
    assert all(e["amount"] > 2_000 and e["hours"] * 3_600 <= 60 for e in outliers)
    assert [e["timestamp"] for e in made] == sorted(e["timestamp"] for e in made)


def test_the_worked_example_has_the_events_of_the_semantics() -> None:
    made = parsed(worked_example("s", 100))
    assert [
        (e["timestamp"] - 100, *(v for k, v in e.items() if k not in ("session_id", "timestamp")))
        for e in made
    ] == [(time, value) for time, _, value in WORKED_EXAMPLE]
    assert {e["session_id"] for e in made} == {"s"}


TIDY = st.lists(st.integers(0, 100), max_size=40).map(
    lambda times: [Event(str(i), float(t), str(i).encode()) for i, t in enumerate(sorted(times))]
)


@given(TIDY, st.integers(0, 50), st.integers(0, 3))
def test_shuffling_delays_no_event_beyond_the_span(events: list[Event], within: int, seed: int) -> None:
    """Shuffling keeps every event and delays none beyond the span."""
    made = list(disorder.shuffle(events, within, seed=seed))
    assert sorted(made) == sorted(events)
    newest = float("-inf")
    for event in made:
        newest = max(newest, event.time)
        assert event.time >= newest - within


@given(TIDY, st.floats(0, 1), st.integers(0, 3))
def test_late_events_are_held_back_and_none_is_lost(events: list[Event], share: float, seed: int) -> None:
    made = list(disorder.make_late(events, share, 20.0, seed=seed))
    assert sorted(made) == sorted(events)


@given(TIDY, st.floats(0, 1), st.integers(0, 3))
def test_duplicates_come_on_top_after_their_originals(events: list[Event], share: float, seed: int) -> None:
    made = list(disorder.duplicate(events, share, seed=seed))
    assert set(made) == set(events)
    counts = Counter(made)
    assert all(count <= 2 * Counter(events)[event] for event, count in counts.items())
    first = {event: made.index(event) for event in events}
    assert sorted(first, key=lambda e: first[e]) == list(dict.fromkeys(events))


def test_a_file_is_sent_under_each_lines_key() -> None:
    """A file is sent as it is under the key of each line."""
    lines = [b'{"a": {"b": "x"}}\n', b"\n", b'{"a.b": 7,  "z": 1}']
    assert [(e.key, e.payload) for e in jsonl.read(lines, "a.b")] == [
        ("x", b'{"a": {"b": "x"}}'),
        ("7", b'{"a.b": 7,  "z": 1}'),
    ]


@pytest.mark.parametrize("line", [b"{oops", b"{}", b'{"k": null}', b'{"k": true}', b"[1]"])
def test_a_line_without_a_key_is_named(line: bytes) -> None:
    """A line without a key is named and sent only when asked."""
    with pytest.raises(jsonl.JsonLinesError, match="line 2"):
        list(jsonl.read([b'{"k": 1}', line], "k"))
    assert [e.payload for e in jsonl.read([line], "k", lenient=True)] == [line]


def test_a_dry_run_prints_json_lines_and_sends_nothing() -> None:
    result = CliRunner().invoke(
        app, ["sessions", "-n", "30", "--sessions", "4", "--shuffle", "1m", "--dry-run"]
    )
    assert result.exit_code == 0
    assert len([json.loads(line) for line in result.stdout.splitlines()]) == 30


EXPORT = b'{"k": "a", "t": 9}\n{"k": "a", "t": 7}\n\n{"k": "b", "t": 7}\n{"k": "a"}\n'


@pytest.mark.parametrize(("turned", "times"), [([], [9, 7, 7, None]), (["--newest-first"], [None, 7, 7, 9])])
def test_a_backward_file_is_named_before_sending(turned: list[str], times: list[int]) -> None:
    """A file that runs backwards is said before it is sent."""
    asked = ["file", "-", "--key", "k", "--time", "t", "--stdout", *turned]
    done = CliRunner().invoke(app, asked, input=EXPORT)
    assert [json.loads(line).get("t") for line in done.stdout.splitlines()] == times
    assert ("warning: the events run backwards in time" in done.stderr) is not bool(turned)


def test_lines_before_a_bad_one_are_sent() -> None:
    """What is before a bad line is sent also when the order is looked at."""
    done = CliRunner().invoke(
        app, ["file", "-", "--key", "k", "--time", "t", "--stdout"], input=EXPORT + b"{\n"
    )
    assert len(done.stdout.splitlines()) == 4
    assert isinstance(done.exception, jsonl.JsonLinesError)
    assert "line 6 is not JSON" in str(done.exception)
