"""Files of alert rules: what they say, and what is wrong with those that are."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from timeline_workers.alerts.alert_rule import HOUR, Mute, Rule
from timeline_workers.alerts.rule_files import RULE_FIELDS, load_rule
from timeline_workers.alerts.telling import Silence, Telling
from timeline_workers.errors import Code, ExpressionError, MetricError, RuleError, TimelineError
from timeline_workers.metric.model import NamedSource, Source, StoredSource

PLAIN = """
kind: alert
name: stalled
source: {topic: playback-events, key: session_id, time: timestamp}
expression: latest_event_to_state(player) == "buffer"  # a comment
"""
FULL = (
    PLAIN
    + """
description: Somebody waits.
for: 1m
keep: 30s
as_of: clock
repeat: 4h
mute: [{key: "test-*", until: 2026-12-01T08:00:00Z}, {until: "2026-12-01T09:00:00+01:00"}]
title: "{{ key }} buffers"
text: "{{ description }} {% if firing %}since {{ start }}{% endif %}"
to: [pager, log]
"""
)
EIGHT = int(datetime(2026, 12, 1, 8, tzinfo=UTC).timestamp()) * 1_000_000


def test_a_rule_says_what_it_says() -> None:
    rule = load_rule(FULL)
    assert rule.mute == (Mute(key="test-*", until=EIGHT), Mute(until=EIGHT))
    assert rule.to == ("pager", "log")
    assert rule.telling == Telling(
        "stalled", "provisional", "clock", 4 * HOUR, (Silence("test-*", EIGHT), Silence("*", EIGHT))
    )


def test_what_is_left_out_is_plain() -> None:
    rule = load_rule(PLAIN)
    assert rule.telling == Telling("stalled", "provisional", "watermark", HOUR)
    assert rule.truth == 'latest_event_to_state(player) == "buffer"'
    assert rule.to == ()


def test_for_and_keep_are_operators_for_first() -> None:
    """So the metric that is told is one like any other, and its nodes are shared with metrics that say it."""
    rule = load_rule(FULL)
    held = 'held_for(latest_event_to_state(player) == "buffer", 1m)'
    assert rule.truth == f"has_existed_within({held}, 30s)"
    assert rule.metric.expression == rule.truth
    assert (rule.metric.name, rule.metric.source) == ("stalled", rule.source)


def test_a_rule_is_read_back() -> None:
    rule = load_rule(FULL)
    assert Rule.model_validate_json(rule.model_dump_json()) == rule
    assert Rule.model_validate_json(rule.model_dump_json(by_alias=True)) == rule


def test_a_rule_may_name_a_stored_source() -> None:
    source = Source(topic="playback-events", key="session_id", time="timestamp")
    stored = StoredSource(definition=NamedSource(name="playback", source=source), version=3)
    named = PLAIN.replace("{topic: playback-events, key: session_id, time: timestamp}", "playback")
    rule = load_rule(named, lambda name: stored)
    assert rule.source == source
    assert rule.named_source is not None
    assert rule.named_source.version == 3
    with pytest.raises(RuleError, match="'playback' is the name of a stored source"):
        load_rule(named)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("for: 60", "for: 60 has no unit; write 60s"),
        ("for: 0s", "for: '0s' is not longer than nothing"),
        ("keep: soon", "keep: .*soon"),
        ("fore: 1m", "fore: there is no such field; did you mean for?"),
        ("when: finally", "when: 'finally' is not one of provisional, final; did you mean final?"),
        ("as_of: now", "as_of: 'now' is not one of watermark, clock"),
        ("mute: [{key: x}]", "mute.0.until: this field is missing"),
        ("mute: [{until: tomorrow}]", "'tomorrow' is no instant; write one as 2026-12-01T08:00:00Z"),
        ("mute: [{until: 2026-12-01T08:00:00}]", "does not say of which zone; write 2026-12-01T08:00:00Z"),
        ("mute: [{unti: 5}]", "mute.0.unti: there is no such field; did you mean until?"),
        ("title: '{{ keys }}'", "the template uses `keys`, and a message has none; did you mean key?"),
        ("text: '{% if %}'", "line 1 of the template"),
        ("to: pager", "to: 'pager'"),
        ("named_source: {name: x, version: 1}", "named_source: there is no such field"),
        ("when: final\nas_of: clock", "as_of: clock does not go with when: final"),
    ],
)
def test_what_is_wrong_is_named(line: str, message: str) -> None:
    with pytest.raises(RuleError) as caught:
        load_rule(PLAIN + line)
    assert message.partition(".*")[0] in str(caught.value)
    assert caught.value.code is Code.WRONG_RULE


@pytest.mark.parametrize(
    ("expression", "kind", "message"),
    [
        ("duration_where(has_existed(x))", RuleError, "is a numeric; compare it, as in duration_where"),
        (
            "latest_event_to_state(x)",
            RuleError,
            "is a state; compare it, as in latest_event_to_state(x) == true",
        ),
        ("has_existed(x) | aggregate(group_by(y), avg)", RuleError, "give the aggregate an output"),
        ("has_existed(x", ExpressionError, "never closed"),
    ],
)
def test_a_rule_ends_in_true_or_false(expression: str, kind: type[TimelineError], message: str) -> None:
    with pytest.raises(kind) as caught:
        load_rule(PLAIN.replace('latest_event_to_state(player) == "buffer"', expression))
    assert message in str(caught.value)


def test_a_metric_is_no_rule() -> None:
    with pytest.raises(RuleError, match="one begins with 'kind: alert'"):
        load_rule(PLAIN.replace("kind: alert", ""))
    with pytest.raises(RuleError, match="and a rule file is one; write its fields"):
        load_rule("- a\n- b")
    assert not issubclass(RuleError, MetricError)
    assert {"for", "keep", "mute"} <= set(RULE_FIELDS)
