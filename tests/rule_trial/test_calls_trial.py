"""Trials of reconcilers: what they say when calls are others than expected."""

from __future__ import annotations

from pathlib import Path

import pytest

from timeline_workers.errors import RuleError
from timeline_workers.reconcilers.calls import State
from timeline_workers.rule_trial.calls_trial import CallsOutcome, load_calls_trial, run_calls

METRIC = """name: down
source: {topic: t, key: k, time: t, allowed_lateness: 10s}
expression: held_for(latest_event_to_state(s) == "down", 5s)
"""


def played(folder: Path, reconciler: str, *steps: str) -> list[CallsOutcome]:
    (folder / "metric.yaml").write_text(METRIC)
    lines = "".join(f"  - {{{step}}}\n" for step in steps)
    text = f"kind: reconciler-test\nmetric: metric.yaml\nreconciler: {reconciler}\nsteps:\n{lines}"
    (folder / "trial.yaml").write_text(text)
    return list(run_calls(*load_calls_trial(folder / "trial.yaml")))


def event(key: str, at: float, state: str) -> str:
    return f"{{k: {key}, t: {at}, s: {state}}}"


def test_r12_a_state_that_flaps_is_not_called(tmp_path: Path) -> None:
    """It is down for less than five seconds each time: one call, for the key that is new."""
    steps = [f"at: {t}, events: [{event('a', t, s)}]" for t, s in ((1, "up"), (2, "down"), (4, "up"))]
    steps += [f"at: {t}, events: [{event('a', t, s)}]" for t, s in ((6, "down"), (10, "up"), (12, "down"))]
    outcomes = played(tmp_path, "{}", *steps, "at: 16", "at: 17", "at: 18")
    calls = [(one.number, call.desired and call.desired.value) for one in outcomes for call in one.made]
    assert calls == [(1, False), (8, True)]  # down since 12, which has lasted for 5 s at 17


def test_final_waits_for_the_watermark(tmp_path: Path) -> None:
    outcomes = played(
        tmp_path,
        "{when: final}",
        f"at: 20, events: [{event('a', 1, 'down')}, {event('a', 18, 'down')}]",
        f"at: 30, events: [{event('a', 3, 'up')}], refused: 1",
        f"at: 40, events: [{event('b', 40, 'up')}]",  # it is not known yet what holds of it
    )
    calls = [(one.number, call) for one in outcomes for call in one.made]
    assert [(number, call.key, call.desired) for number, call in calls] == [
        (1, "a", State(True, 6_000_000, None, True, 1))
    ]


def test_differences_are_named(tmp_path: Path) -> None:
    outcomes = played(
        tmp_path,
        "{backoff: [1s, 2s]}",
        f"at: 1, events: [{event('a', 1, 'up')}], fails: {{a: 1}}, calls: [{{key: b, value: true}}]",
        "at: 2, calls: [{key: a, value: false, attempt: 2}]",
        f"at: 3, events: [{event('a', 3, 'down')}], refused: 1",
    )
    assert [one.differences for one in outcomes] == [
        (
            "expected and not called: {'key': 'b', 'value': True}",
            "called and not expected: {'key': 'a', 'value': False}",
        ),
        (),
        ("0 of the events were refused, not 1",),
    ]


def test_a_trial_that_is_wrong_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RuleError, match="earlier than the step before"):
        played(tmp_path, "{}", "at: 2", "at: 1")
    with pytest.raises(RuleError, match="the first pause is longer"):
        played(tmp_path, "{backoff: [5s, 1s]}", "at: 2")
    with pytest.raises(RuleError, match="when"):
        played(tmp_path, "{when: soon}", "at: 2")
