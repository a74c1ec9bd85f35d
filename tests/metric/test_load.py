"""Metric files: what is read, and how mistakes are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from timeline_workers.errors import ExpressionError, MetricError
from timeline_workers.metric.load import check_metric, load_metric
from timeline_workers.metric.model import Metric

GOOD = """
name: cirr
source:
  topic: playback-events
  key: session_id            # dotted path of the key in the event
  time: timestamp
  time_unit: ms
  columns:
    playerStateChange: string
    device: {type: string, path: attributes.device}
  allowed_lateness: 1m
  partitions: 4
expression: |
  duration_where(latest_event_to_state(playerStateChange) == "buffer")
"""


def test_durations_and_short_columns_are_read(tmp_path: Path) -> None:
    """A metric file is read with durations and short columns."""
    file = tmp_path / "cirr.yaml"
    file.write_text(GOOD, encoding="utf-8")
    metric = load_metric(file)
    assert metric == load_metric(str(file)) == load_metric(GOOD)
    assert metric.source.allowed_lateness == 60_000_000
    assert metric.source.max_ahead == 86_400_000_000
    assert metric.source.clock_skew == 60_000_000
    assert metric.source.columns["playerStateChange"].type == "string"
    assert metric.source.columns["device"].path == "attributes.device"
    check_metric(metric)


def test_bounds_of_the_state_may_be_unset() -> None:
    """What bounds the state is read and unset when it is not there."""
    metric = load_metric(GOOD)
    assert (metric.retention, metric.key_ttl, metric.source.idle_timeout) == (None, None, None)
    bounded = GOOD.replace("  partitions", "  idle_timeout: 5m\n  partitions")
    metric = load_metric(bounded + "retention: 7d\nkey_ttl: 1d\n")
    assert metric.retention == 7 * 86_400_000_000
    assert metric.key_ttl == 86_400_000_000
    assert metric.source.idle_timeout == 300_000_000
    assert Metric.model_validate_json(metric.model_dump_json()) == metric


def test_fuse_is_off_unless_asked_for() -> None:
    """Fuse is off unless asked for and not written then."""
    metric = load_metric(GOOD)
    assert not metric.fuse
    assert "fuse" not in metric.model_dump_json()
    fused = load_metric(GOOD + "fuse: true\n")
    assert fused.fuse
    assert Metric.model_validate_json(fused.model_dump_json()) == fused != metric


def test_a_metric_survives_the_way_between_workers_as_json() -> None:
    metric = load_metric(GOOD)
    assert Metric.model_validate_json(metric.model_dump_json()) == metric


def test_a_line_in_braces_is_a_metric() -> None:
    """One line of text in braces is a metric too."""
    text = (
        "{name: m, source: {topic: t, key: k, time: t, partitions: per-key}, expression: has_existed(x == 1)}"
    )
    assert load_metric(text).source.partitions == "per-key"


@pytest.mark.parametrize(
    ("good", "bad", "words"),
    [
        ("time_unit: ms", "time_unit: sec", "source.time_unit: 'sec' is not one of s, ms, us, ns, iso"),
        ("topic:", "topik:", "source.topik: there is no such field; did you mean topic?"),
        ("topic:", "topik:", "source.topic: this field is missing"),
        ("name:", "labels: x\nname:", "labels: there is no such field; the fields are name, description"),
        (
            "partitions: 4",
            "partitions: 0",
            "source.partitions: 0 is neither a number from 1 to 4096 nor per-key",
        ),
        ("partitions: 4", "partitions: yes", "source.partitions: True is neither"),
        ("1m", "1 fortnight", "source.allowed_lateness: '1 fortnight' is not a duration"),
        ("1m", "60", "source.allowed_lateness: 60 has no unit; write 60s"),
        ("name: cirr", "name: cirr\nretention: 7", "retention: 7 has no unit; write 7s"),
        ("name: cirr", "name: cirr\nkey_ttl: 0s", "key_ttl: '0s' is not longer than nothing"),
        ("name: cirr", "name: cirr\nfuse: 2", "fuse: 2 is neither true nor false"),
        ("name: cirr", "name: cirr\nhistory: {retention: 7}", "history.retention: 7 has no unit; write 7s"),
        ("name: cirr", "name: cirr\nhistory: {node: all}", "history.node: there is no such field; did you"),
        ("name: cirr", "name: cirr\nhistory: {nodes: al}", "history.nodes: 'al' is not one of result, all,"),
        ("name: cirr", "name: cirr\nhistory: all", "history: 'all' is not a mapping; write one with events"),
        ("partitions: 4", "idle_timeout: 60", "source.idle_timeout: 60 has no unit; write 60s"),
        ("partitions: 4", "idle_timeout: 0", "source.idle_timeout: 0 is not longer than nothing"),
        ("1m", "0.5us", "not a whole number of microseconds"),
        ("name: cirr", "name: 1x", "name: '1x' is not a name"),
        ("name: cirr", "name: on", "name: True is not text; put it in quotes"),
        (
            "Change: string",
            "Change: strng",
            "playerStateChange.type: 'strng' is not one of bool, int, float, string; did",
        ),
        ("path:", "paht:", "source.columns.device.paht: there is no such field; did you mean path?"),
        ("Change: string", "Change: 5", "playerStateChange: 5 is not a mapping; write one with type, path"),
        ("key: session_id", "key: ''", "source.key: '' is empty; write a name"),
        ("source:", "source: [", "line 5, column 6"),
        ("  key:", " key:", "indent it as the fields around it are"),
        ("  key:", "  topic: x\n  key:", "line 5, column 3: 'topic' is there twice"),
        ("name: cirr", "name: ${x", "is not a name"),
        ("name: cirr", "name: !!python/object:os.system x", "line 2"),
    ],
)
def test_a_mistake_names_field_value_and_rule(good: str, bad: str, words: str) -> None:
    """A mistake is named with its field value rule and nearest name."""
    assert good in GOOD
    with pytest.raises(MetricError) as caught:
        load_metric(GOOD.replace(good, bad, 1))
    assert words in str(caught.value)


def test_all_mistakes_are_named_at_once() -> None:
    with pytest.raises(MetricError) as caught:
        load_metric(GOOD.replace("name: cirr", "name: ''").replace("time_unit: ms", "time_unit: x"))
    assert len(str(caught.value).splitlines()) == 2


@pytest.mark.parametrize("text", ["[]\n", "just text\n", "\n", "{}", "a: [" * 20_000 + "\n"])
def test_what_is_no_metric_at_all_is_refused(text: str) -> None:
    with pytest.raises(MetricError):
        load_metric(text)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(MetricError, match=r"cannot read .*nothing\.yaml: No such file"):
        load_metric(tmp_path / "nothing.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(MetricError, match="not UTF-8"):
        load_metric(tmp_path / "binary.yaml")


@pytest.mark.parametrize(
    ("good", "bad"),
    [('"buffer"', "5"), ('"buffer")', '"buffer"'), ("state(playerStateChange)", "state(nowhere)")],
)
def test_an_expression_must_fit_the_declared_columns(good: str, bad: str) -> None:
    """An expression that is wrong or does not fit the declared columns is an error."""
    assert good in GOOD
    with pytest.raises(ExpressionError, match="line 1"):
        check_metric(load_metric(GOOD.replace(good, bad)))
