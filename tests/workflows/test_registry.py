"""The registry of workflow kinds says what the workflows are."""

from __future__ import annotations

import pytest
from temporalio import workflow

from workflows.processor import pinned
from workflows.registry import (
    ALERT_RULE,
    BY_TYPE,
    HISTORY_OUTPUT,
    KINDS,
    LEAF,
    NODE,
    PINNED,
    RECONCILER,
    SINK,
    TOPIC_OUTPUT,
    WorkflowKind,
    kind_of,
    running,
)
from workflows.worker import WORKFLOWS


def definition(kind: WorkflowKind) -> workflow._Definition:
    [of_type] = [d for w in WORKFLOWS if (d := workflow._Definition.must_from_class(w)).name == kind.type]
    return of_type


def test_every_workflow_has_a_row() -> None:
    assert {workflow._Definition.must_from_class(w).name for w in WORKFLOWS} == set(BY_TYPE)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.type)
def test_a_row_names_its_queries_and_signals(kind: WorkflowKind) -> None:
    """A row names the queries and signals of its workflow."""
    found = definition(kind)
    assert set(found.queries) == set(kind.queries)
    assert set(found.signals) == set(kind.signals)
    assert (getattr(pinned, kind.type, None) is not None) == kind.pinned


def test_whoever_stays_on_a_build_is_listed() -> None:
    """Outputs too: a rollout has to move them, or their build could not be stopped."""
    assert PINNED == (LEAF, NODE, TOPIC_OUTPUT, HISTORY_OUTPUT, ALERT_RULE, RECONCILER)
    types = ("EventProcessor", "TimelineProcessor", "TopicOutput", "HistoryOutput", "AlertRule", "Reconciler")
    listed = f"WorkflowType IN {types}"
    assert running(*PINNED) == f"{listed} AND ExecutionStatus = 'Running'"


@pytest.mark.parametrize(
    ("workflow_id", "kinds"),
    [
        ("tl-has-existed-32e8f821cc.p0", (LEAF, NODE)),
        ("and-1b972dc91e-fused.p11", (LEAF, NODE)),
        ("aggregate-1b972dc91e.all", (LEAF, NODE)),
        ("output-cirr-1b972dc91e.p0", (TOPIC_OUTPUT,)),
        ("history-and-1b972dc91e.p0", (HISTORY_OUTPUT,)),
        ("history-and-1b972dc91e-fused.p0", (HISTORY_OUTPUT,)),
        ("history-aggregate-1b972dc91e-count.all", (HISTORY_OUTPUT,)),
        ("sink-pager.p0", (SINK,)),
        ("reconciler-freeze-card.p0", (RECONCILER,)),
        ("reconciler-players.key-player-7-1b972dc9", (RECONCILER,)),
        ("alert-stalled-1b972dc91e.p0", (ALERT_RULE,)),
        ("timeline-catalog", (BY_TYPE["MetricCatalog"],)),
        ("timeline-driver-cirr", (BY_TYPE["TimelineDriver"],)),
        ("and-1b972dc91e.p1.archive-3", (BY_TYPE["KeyArchive"],)),
        ("something else", ()),
    ],
)
def test_an_id_tells_the_kind(workflow_id: str, kinds: tuple[WorkflowKind, ...]) -> None:
    assert kind_of(workflow_id) == kinds
