"""Backtests: what a rule would have sent over events that are there already."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given, strategies as st

from tests.alerts.told import SECOND, Receiver, seen
from tests.oracle import oracle
from tests.oracle.events import Event
from timeline_workers.alerts.rule_files import load_rule
from timeline_workers.alerts.true_spans import OPEN
from timeline_workers.language.parser import parse
from timeline_workers.rule_trial.backtest import Backtest

RULE = """
kind: alert
name: r
source: {topic: t, key: k, time: t, allowed_lateness: 10s}
expression: latest_event_to_state(s) == "down" since latest_event_to_state(n) > 5
for: 3s
keep: 2s
"""
EVENTS = st.lists(
    st.fixed_dictionaries(
        {"k": st.sampled_from(["a", "b"]), "t": st.integers(0, 40)},
        optional={"s": st.sampled_from(["down", "up"]), "n": st.integers(3, 8)},
    ),
    min_size=1,
    max_size=20,
)


@given(EVENTS, st.sampled_from(["as_of: clock", "as_of: watermark", "when: final"]))
def test_what_is_told_in_the_end_is_the_truth(events: list[dict[str, object]], when: str) -> None:
    """Of the events that were not too late, by the brute-force reading; whatever was told in between."""
    rule, late, receiver = load_rule(RULE + when), set[int](), Receiver()
    played = Backtest(rule, lambda place, why: late.add(place))
    receiver.hear(played.messages([json.dumps(event).encode() for event in events], 60 * SECOND))
    assert played.refused.total() == len(late)
    accepted = [
        Event(str(event["k"]), int(str(event["t"])) * SECOND, (0, 0, place), event)
        for place, event in enumerate(events)
        if place not in late
    ]
    as_of = 60 * SECOND
    if when != "as_of: clock":
        as_of = max(event.time for event in accepted) - 10 * SECOND - (when == "when: final")
    for key in ("a", "b"):
        pieces = oracle.timeline(parse(rule.truth), accepted, key)
        starts = [piece.start for piece in pieces]
        true = [span for span, piece in zip(pairwise([*starts, OPEN]), pieces, strict=True) if piece.value]
        assert receiver.of(key) == seen(true, as_of)


@pytest.mark.parametrize(("lateness", "kinds"), [("1h", ["fire", "withdraw"]), ("0s", ["fire"])])
def test_what_is_too_late_changes_nothing(lateness: str, kinds: list[str]) -> None:
    rule = load_rule(RULE.replace("10s", lateness) + "as_of: clock")
    refused: list[tuple[int, str]] = []
    played = Backtest(rule, lambda place, why: refused.append((place, why)))
    events = [{"k": "a", "t": 1, "s": "down", "n": 9}, {"k": "b", "t": 20}, {"k": "a", "t": 2, "s": "up"}]
    assert [one.kind for one in played.messages(events)] == kinds
    assert played.refused == ({} if lateness == "1h" else {"late": 1})
    assert refused == ([] if lateness == "1h" else [(2, "late: its time 2 is below the watermark, 20")])


def test_the_clock_goes_on_after_the_events() -> None:
    rule = load_rule(RULE + "as_of: clock")
    events = [{"k": "a", "t": 1, "s": "down", "n": 9}, {"k": "a", "t": 10, "s": "up"}]
    assert [(one.kind, one.as_of) for one in Backtest(rule).messages(events)] == [("fire", 4 * SECOND)]
    told = [(one.kind, one.as_of) for one in Backtest(rule).messages(events, 30 * SECOND)]
    assert told == [("fire", 4 * SECOND), ("resolve", 12 * SECOND)]
