"""Conditions of missing messages."""

from __future__ import annotations

from typing import cast

import pytest
from temporalio.client import Client

from timeline_workers.metric.model import Metric, Source
from timeline_workers.plan.physical import plan
from workflows.client.conditions import Applied, Look, missing_messages
from workflows.client.queues import Queue
from workflows.client.worker_health import Health
from workflows.messages import CatalogEntry


def health_with(noted: list[dict[str, object]]) -> Health:
    progress = [{"partition": p, "major": 7, "minor": 0, "noted": one} for p, one in enumerate(noted)]
    return Health(worker_id="leaf.p0", state="ok", status={"state": {"progress": progress}})


def _look(*other: str) -> Look:
    return Look(cast(Client, None), cast(Queue, None), (), (), other_topics=frozenset(other))


@pytest.mark.parametrize(
    ("workers", "found"),
    [
        ([], []),
        ([[{}]], []),
        ([[{"gaps": 1, "gap": "0: lost"}], [{}]], [("gap", "0: lost")]),
        # The commit leaf has heard of the second, another leaf only of the first.
        (
            [[{"gaps": 1, "gap": "0: lost"}], [{"gaps": 2, "gap": "0: lost again"}]],
            [("gap", "2 gaps in topic t, the last: 0: lost again")],
        ),
        (
            [[{"gaps": 1, "gap": "0: lost"}, {"gap": "1: not fed"}]],
            [("gap", "0: lost"), ("gap", "1: not fed")],
        ),
    ],
)
def test_every_partition_with_a_gap_is_said_once(
    workers: list[list[dict[str, object]]], found: list[tuple[str, str]]
) -> None:
    source = Source.model_validate({"topic": "t", "key": "k", "time": "s"})
    planned = plan(Metric(name="m", source=source, expression='has_existed(a == "b")'))
    applied = Applied(cast(CatalogEntry, None), planned, tuple(map(health_with, workers)))
    assert [(one.state, one.cause) for one in missing_messages.check(_look(), applied)] == found


def test_a_recreated_topic_is_a_gap_at_once() -> None:
    """Nobody waits for the feeder to note it."""
    source = Source.model_validate({"topic": "t", "key": "k", "time": "s"})
    planned = plan(Metric(name="m", source=source, expression='has_existed(a == "b")'))
    applied = Applied(cast(CatalogEntry, None), planned, ())
    [found] = missing_messages.check(_look("t", "u"), applied)
    assert found.state == "gap"
    assert "topic t was recreated" in found.cause
    assert not list(missing_messages.check(_look("u"), applied))
