"""Metrics that write changelogs and metrics that read them are refused in either order where they cannot go
together.
"""

from __future__ import annotations

from typing import Any

import pytest

from timeline_workers.errors import MetricError
from timeline_workers.metric.model import Metric, Output, Source
from timeline_workers.plan.changelog_pairs import Applied, refuse_pairs
from timeline_workers.plan.output_workers import output_workers
from timeline_workers.plan.physical import plan

STATE, FLAG = "latest_event_to_state(x)", "has_existed(x == 1)"
NUMBER, COUNT = f"duration_where({FLAG})", "event_count(x == 1)"


def applied(made: Metric) -> Applied:
    return Applied(made, output_workers(plan(made)))


def writer(expression: str, name: str = "m", topic: str = "t", to: str = "o", unit: Any = "s") -> Applied:
    source = Source(topic=topic, key="k", time="t", time_unit=unit)
    return applied(Metric(name=name, source=source, expression=expression, output=Output(topic=to)))


def aggregate(functions: str) -> Applied:
    return writer(f"event_count(x == 1) | aggregate(group_by(g), {functions})")


def reader(
    expression: str = "changelog(numeric)", changelog: Any = True, topic: str = "o", to: str = ""
) -> Applied:
    source = Source.model_validate({"topic": topic, "changelog": changelog})
    output = Output(topic=to) if to else None
    return applied(Metric(name="n", source=source, expression=expression, output=output))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (reader("changelog(number)", changelog="count"), aggregate("count, max")),
        (reader("changelog(number)", changelog="max"), aggregate("count, max")),
        (reader(), writer(f"{NUMBER} | aggregate(group_by(g), max)")),
        (reader("changelog(number)", changelog="max"), aggregate("max")),
        (reader(topic="another"), aggregate("count, max")),
        (reader(), writer(NUMBER)),
        (reader("changelog(number)"), writer(STATE)),
        (reader("changelog(number)"), writer(COUNT)),
        (reader("changelog(state)"), writer(COUNT)),
        (reader("changelog(boolean)"), writer(FLAG)),
        (reader("changelog(boolean)"), writer(STATE)),
        (reader("changelog(state)"), writer(FLAG)),
        (writer(FLAG, "a", to="p"), writer(FLAG, "b", to="q")),
        (reader(to="p"), writer(NUMBER)),
    ],
)
def test_what_goes_together_is_applied(one: Applied, other: Applied) -> None:
    refuse_pairs(one, [other])
    refuse_pairs(other, [one])
    refuse_pairs(one, [])


@pytest.mark.parametrize(
    ("wrong", "right", "why", "fix"),
    [
        (reader(), aggregate("count, max"), "'o' has count, max of the aggregate of metric 'm'", ": count'"),
        (reader(changelog="sum"), aggregate("max"), "'o' has max of the aggregate of metric 'm'", ": max'"),
        (reader(changelog="sum"), writer(NUMBER), "no aggregate", "write 'changelog: true'"),
        (reader(), writer(NUMBER, unit="ms"), "s is not that of metric 'm'", "write 'time_unit: ms'"),
        (reader(), writer(FLAG), "changelog(numeric) is not what metric 'm'", "write changelog(boolean)"),
        (
            reader("duration_where(changelog(boolean))"),
            aggregate("count"),
            "changelog(boolean) is not what",
            "write changelog(number)",
        ),
        (reader(), writer(COUNT), "changelog(numeric) is not what", "write changelog(number)"),
        (reader(), writer(STATE), "changelog(numeric) is not what", "write changelog(state)"),
        (reader("changelog(state)"), writer(NUMBER), "(state) is not what", "write changelog(numeric)"),
        (
            reader(changelog="count"),
            writer(f"{NUMBER} | aggregate(group_by(g), count, max)"),
            "changelog(numeric) is not what",
            "write changelog(number)",
        ),
    ],
)
def test_a_reader_that_cannot_read_is_refused(wrong: Applied, right: Applied, why: str, fix: str) -> None:
    """Whichever of the two is applied first: the message says what to change in the one that reads."""
    with pytest.raises(MetricError) as late:
        refuse_pairs(wrong, [right])
    with pytest.raises(MetricError) as early:
        refuse_pairs(right, [wrong])
    assert str(late.value).startswith("metric 'n': ")
    assert str(early.value).startswith("metric 'm': metric 'n' reads the topic of its output, 'o', and")
    for refused in (str(late.value), str(early.value)):
        assert why in refused
        assert fix in refused


def test_a_topic_has_one_writer() -> None:
    with pytest.raises(MetricError, match="'o' is written by metric 'a' already"):
        refuse_pairs(writer(FLAG, "b", topic="u"), [writer(FLAG, "a")])


def test_another_definition_of_its_own_is_no_other() -> None:
    refuse_pairs(writer(NUMBER), [writer(FLAG)])
    refuse_pairs(writer(NUMBER, to="p"), [writer(FLAG), reader("changelog(boolean)")])


def test_what_is_written_must_not_come_back() -> None:
    """Over however many metrics; a metric beside the circle is none of its."""
    back = writer(NUMBER, "last", topic="p", to="t")
    beside = writer(NUMBER, "beside", topic="p", to="q")
    for new, others in (
        (writer(NUMBER), [reader(to="p"), beside, back]),
        (back, [writer(NUMBER), beside, reader(to="p")]),
    ):
        with pytest.raises(MetricError, match="comes back"):
            refuse_pairs(new, others)
    refuse_pairs(beside, [writer(NUMBER), reader(to="p"), back])
