"""Rules as they are applied: as metrics, with workers, and what these hold and show."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, strategies as st

from tests.alerts.told import news
from timeline_workers.alerts.alert_rule import Rule
from timeline_workers.alerts.alert_state import AlertState
from timeline_workers.alerts.episodes import Message
from timeline_workers.alerts.rule_files import load_definition, load_rule
from timeline_workers.alerts.rule_view import Told, pack_told, read_view, rule_view, unpack_told
from timeline_workers.alerts.telling import Telling
from timeline_workers.alerts.true_spans import OPEN
from timeline_workers.errors import MetricError, RuleError, StateError
from timeline_workers.metric.definition_file import metric_file
from timeline_workers.metric.load import load_metric
from timeline_workers.metric.model import Metric
from timeline_workers.plan.alert_workers import alert_workers
from timeline_workers.plan.physical import all_workers, plan
from workflows.outputs.batches import Batch
from workflows.outputs.message_batches import message_batches, messages_of

FILE = """
kind: alert
name: stalled
description: buffers for long
source: {topic: playback-events, key: session, time: t, allowed_lateness: 1m, partitions: 2}
expression: latest_event_to_state(player) == "buffer"
for: 1m
keep: 30s
as_of: clock
repeat: 2h
mute: [{key: "test-*", until: 2100-01-01T00:00:00.25Z}]
title: "{{ key }} waits"
to: [pager, log]
"""


def changed(**fields: Any) -> Metric:
    rule: Rule = load_rule(FILE)
    return rule.model_copy(update=fields).metric


def test_a_rule_is_applied_as_a_metric() -> None:
    """What the catalog has of it is enough to write its file; JSON keeps all of it."""
    metric = load_definition(FILE)
    assert metric == load_rule(FILE).metric
    assert metric.expression == load_rule(FILE).truth
    written = metric_file(metric)
    assert load_rule(written) == load_rule(FILE)
    assert "until: '2100-01-01T00:00:00.250000Z'" in written
    assert Metric.model_validate_json(metric.model_dump_json()) == metric
    assert "alert" not in json.loads(load_metric(FILE_OF_A_METRIC).model_dump_json())


FILE_OF_A_METRIC = "name: m\nsource: {topic: t, key: k, time: t}\nexpression: has_existed(x)\n"


def test_no_metric_file_says_what_only_a_rule_does() -> None:
    """A metric is no rule by a field."""
    with pytest.raises(MetricError, match="alert: there is no such field"):
        load_metric(f"{FILE_OF_A_METRIC}alert: {{}}\n")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"partitions: 2": "partitions: per-key"}, "write a number, such as 'partitions: 4'"),
        ({"{{ key }} waits": "x" * 16_385}, "16,385 characters; 16,384 are the most"),
    ],
)
def test_what_no_rule_can_be_is_refused(change: dict[str, str], said: str) -> None:
    """With what to write instead."""
    text = FILE
    for old, new in change.items():
        text = text.replace(old, new)
    with pytest.raises((MetricError, RuleError), match=said):
        plan(load_definition(text))


def test_a_rule_over_a_changelog_has_no_clock() -> None:
    """Nobody knows up to when what it rests on has been read."""
    text = FILE.replace("playback-events, key: session, time: t, allowed_lateness: 1m", "c, changelog: true")
    text = text.replace('latest_event_to_state(player) == "buffer"', "changelog(boolean)")
    with pytest.raises(RuleError, match="as_of: clock does not go with a changelog"):
        load_rule(text)
    assert load_rule(text.replace("as_of: clock\n", "")).source.changelog


def test_a_rule_has_a_worker_for_each_partition() -> None:
    """Another way of telling has the same workers, which know what was told; another truth has others."""
    specs = alert_workers(plan(changed()))
    assert [spec.partition for spec in specs] == ["p0", "p1"]
    heard = {worker.worker_id for worker in all_workers(plan(changed()))}
    assert {one for spec in specs for slot in spec.inputs for one in slot} <= heard
    names = [spec.worker_id for spec in specs]
    other = {"title": "other", "to": (), "mute": (), "repeat": 0, "as_of": "watermark"}
    assert [spec.worker_id for spec in alert_workers(plan(changed(**other)))] == names
    assert not {spec.worker_id for spec in alert_workers(plan(changed(held_for=None)))} & set(names)
    assert alert_workers(plan(load_metric(FILE_OF_A_METRIC))) == []


def test_what_is_heard_waits_for_the_next_step() -> None:
    """Also when the state is carried in between: what is not known to be whole is not told of."""
    telling = Telling("r", "provisional", "clock")
    state = AlertState(telling)
    state.hear([news({"a": (0, [(5, 8)]), "b": (0, [(6, OPEN)])})])
    assert state.waits_for_step
    state.compact()
    state = AlertState.restore(telling, state.snapshot())
    state.hear([news({"a": (0, [])})])
    assert [(one.kind, one.key) for one in state.step((), 10)] == [("fire", "b")]
    assert not state.waits_for_step
    assert state.count_firing() == 1


def message(number: int) -> Message:
    return Message(
        kind="fire", rule="r", key="k" * number, episode=f"r/k/{number}", seq=1, start=number, as_of=number
    )


@given(st.lists(st.integers(0, 300), max_size=20), st.integers(1, 2_000))
def test_batches_have_every_message_with_its_number(lengths: list[int], most_bytes: int) -> None:
    """However they are cut."""
    messages = [message(length) for length in lengths]
    found = list(message_batches(7, messages, most_bytes))
    assert [one for batch in found for one in messages_of(batch)] == messages
    first = 7
    for batch in found:
        assert batch.first == first
        first += batch.count
    assert first == 7 + len(messages)


def test_what_is_no_batch_of_messages_is_refused() -> None:
    """It is refused."""
    with pytest.raises(StateError, match="no batch of alerts' messages"):
        messages_of(Batch(1, 1, [b"\x01"]))


def test_a_worker_shows_what_goes_on_first() -> None:
    """What is shown is plain JSON; the last messages are carried."""
    state = AlertState(Telling("r", "provisional", "clock"))
    both = news({"a": (0, [(1, 4)]), "b": (0, [(6, OPEN)])})
    told = [Told(11, one) for one in state.step([both], 10)]
    view = rule_view(state, told, 10, None)
    assert [(one.key, one.end) for one in view.episodes] == [("b", None), ("a", 4)]
    assert read_view(json.loads(json.dumps(view.as_json()))) == view
    assert unpack_told(pack_told(told)) == told
    with pytest.raises(StateError, match="nothing that the worker of a rule shows"):
        read_view({})
    with pytest.raises(StateError, match="no messages of an alert"):
        unpack_told(b"\x01")
