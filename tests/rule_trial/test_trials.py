"""Trials: rules over events on a virtual clock, and what a trial says when something is different."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from timeline_workers.errors import ExpressionError, RuleError, TimelineError
from timeline_workers.rule_trial.trial_files import load_trial
from timeline_workers.rule_trial.virtual_run import Outcome, run

SOURCE = "{topic: t, key: k, time: t, allowed_lateness: 10s}"
CHANGELOG = """steps: [{at: 5}]
rule: {name: r, source: {topic: t, changelog: true}, expression: changelog(boolean)}"""
MISSPELT = """steps: [{at: 5}]
rule: {name: r, source: {topic: t, key: k, time: t}, expression: has_}"""
DOWN = 'latest_event_to_state(s) == "down"'


def played(rule: str, *steps: str) -> list[Outcome]:
    """The outcomes of a trial of ``rule``, the lines of one over SOURCE, in ``steps``."""
    lines = "".join(f"\n  {line}" for line in f"name: r\nsource: {SOURCE}\n{rule}".splitlines())
    text = f"kind: alert-test\nrule:{lines}\nsteps:\n" + "".join(f"  - {{{step}}}\n" for step in steps)
    return list(run(*load_trial(text)))


def told(rule: str, *steps: str) -> list[list[tuple[Any, ...]]]:
    """What is told in each step: kind, key, start and end in seconds, and whether somebody is woken."""
    return [
        [(m.kind, m.key, m.start / 1e6, None if m.end is None else m.end / 1e6, m.page) for m in outcome.told]
        for outcome in played(rule, *steps)
    ]


def event(key: str, at: float, state: str) -> str:
    return f"{{k: {key}, t: {at}, s: {state}}}"


def test_hysteresis_for_and_keep_go_together() -> None:
    """On above 90, off at 70; for ten seconds before it counts, and five seconds longer."""
    rule = "expression: latest_event_to_state(n) > 70 since latest_event_to_state(n) > 90\nfor: 10s\nkeep: 5s"
    loads = ((0, 80), (2, 95), (8, 75), (30, 60), (60, 0))
    events = ", ".join(f"{{k: a, t: {t}, n: {n}}}" for t, n in loads)
    assert told(rule, f"at: 60, events: [{events}]", "at: 70, events: [{k: a, t: 70}]") == [
        [("resolve", "a", 12, 35, False)],
        [],
    ]


def test_the_clock_ends_what_no_event_ends() -> None:
    """A window closes when its time is over; by the watermark, not before an event comes."""
    rule = 'expression: has_existed_within(s == "down", 20s)'
    steps = [
        f"at: 5, events: [{event('a', 5, 'down')}]",
        "at: 26",
        f"at: 40, events: [{event('a', 40, 'up')}]",
    ]
    assert told(f"{rule}\nas_of: clock", *steps) == [
        [("fire", "a", 5, None, True)],
        [("resolve", "a", 5, 25, False)],
        [],
    ]
    assert told(rule, *steps) == [[], [], [("resolve", "a", 5, 25, False)]]


def test_final_waits_and_is_never_corrected() -> None:
    rule = f"expression: {DOWN}\nwhen: final"
    steps = [
        f"at: 5, events: [{event('a', 2, 'down')}]",
        f"at: 9, events: [{event('a', 9, 'down')}, {event('a', 1, 'down')}]",
        f"at: 12, events: [{event('a', 12, 'up')}]",
        f"at: 30, events: [{event('a', 30, 'up')}]",
    ]
    assert told(rule, *steps) == [[], [], [("fire", "a", 1, None, True)], [("resolve", "a", 1, 12, False)]]


def test_no_data_is_a_rule_of_its_own() -> None:
    """Of keys that have said nothing for ten seconds; a key that has said that it ends is left out."""
    rule = (
        'expression: |\n  !has_existed_within(s == s, 10s) && latest_event_to_state(s) != "end"\nas_of: clock'
    )
    events = ", ".join([event("a", 0, "up"), event("b", 0, "end"), event("c", 0, "up"), event("c", 8, "up")])
    assert told(
        rule, f"at: 8, events: [{events}]", "at: 15", f"at: 16, events: [{event('a', 16, 'up')}]"
    ) == [
        [],
        [("fire", "a", 10, None, True)],
        [("resolve", "a", 10, 16, False)],
    ]


def test_late_events_take_no_part() -> None:
    (first, second) = played(
        f"expression: {DOWN}",
        f"at: 40, events: [{event('a', 40, 'up')}], refused: 0",
        f"at: 41, events: [{event('a', 20, 'down')}, {{k: a}}], refused: 2",
    )
    assert not first.differences
    assert not second.differences
    assert not second.told


def test_every_difference_is_named() -> None:
    (outcome,) = played(
        f"expression: {DOWN}\nas_of: clock",
        f"at: 9, events: [{event('a', 2, 'down')}, {{k: a}}], expect: [{{kind: fire, key: a, start: 3}}]",
    )
    missing, unexpected, refused = outcome.differences
    assert missing == "expected and not sent: {'kind': 'fire', 'key': 'a', 'start': 3}"
    assert unexpected == "sent and not expected: {'kind': 'fire', 'key': 'a', 'start': 2, 'page': True}"
    assert refused.startswith("1 of the events were refused, not 0 (missing-time: the event has no time")


def test_a_message_is_expected_once() -> None:
    """Fields that are not named are not looked at; texts are those of the rule's templates."""
    (outcome,) = played(
        f"expression: {DOWN}\nas_of: clock\ntitle: '{{{{ key }}}} is down'",
        f"at: 9, events: [{event('a', 2, 'down')}], "
        "expect: [{kind: fire, title: a is down}, {kind: fire}]",
    )
    assert outcome.differences == ("expected and not sent: {'kind': 'fire'}",)


def test_times_may_be_texts(tmp_path: Path) -> None:
    """YAML reads them as times, quoted or not; the rule is in a file beside the trial."""
    (tmp_path / "rule.yaml").write_text(
        f"kind: alert\nname: r\nsource: {{topic: t, key: k, time: t, time_unit: iso}}\n"
        f"expression: {DOWN}\nas_of: clock\n"
    )
    (tmp_path / "trial.yaml").write_text(
        "kind: alert-test\nrule: rule.yaml\nsteps:\n"
        "  - at: 2026-12-01T08:00:10Z\n"
        "    events: [{k: a, t: 2026-12-01T08:00:05Z, s: down}]\n"
        '    expect: [{kind: fire, start: "2026-12-01T08:00:05Z"}]\n'
    )
    (outcome,) = run(*load_trial(tmp_path / "trial.yaml"))
    assert not outcome.differences
    assert len(outcome.told) == 1


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("steps: [{at: 5}, {at: 4}]", RuleError, "step 2: at: 4 is earlier than the step before"),
        ("steps: [{at: soon}]", RuleError, "step 1: at: 'soon'"),
        ("steps: [{at: 5, expect: [{kid: fire}]}]", RuleError, "a message has no 'kid'; did you mean kind?"),
        ("steps: [{at: 5, expect: [{}]}]", RuleError, "say at least its kind"),
        (
            "steps: [{at: 5, event: []}]",
            RuleError,
            "steps.0.event: there is no such field; did you mean events?",
        ),
        ("steps: []", RuleError, "steps"),
        ("", RuleError, "steps: this field is missing"),
        ("steps: [{at: 5}]\nrule: {name: r}", RuleError, "source: this field is missing"),
        (
            MISSPELT,
            ExpressionError,
            "",
        ),
        (
            CHANGELOG,
            RuleError,
            "try the one expression that says both",
        ),
    ],
)
def test_what_is_wrong_is_named(text: str, kind: type[TimelineError], message: str) -> None:
    rule = "" if "rule:" in text else f"rule: {{name: r, source: {SOURCE}, expression: has_existed(x)}}\n"
    with pytest.raises(kind) as caught:
        load_trial(f"kind: alert-test\n{rule}{text}\n")
    assert message in str(caught.value)


def test_a_rule_is_no_trial() -> None:
    with pytest.raises(RuleError, match="one begins with 'kind: alert-test'"):
        load_trial("kind: alert\nname: r\n")
