"""Determinism: today's code replays what it has done, and what earlier releases have recorded."""

from __future__ import annotations

from pathlib import Path

import pytest
from temporalio.worker import Replayer

from tests.workflows.cluster import cluster
from tests.workflows.record_histories import FOLDER, KINDS, SCENARIOS, histories_of, read, record, recorded
from timeline_workers.servers.temporal.temporal_client import DATA_CONVERTER
from workflows.worker import WORKFLOWS, sandbox


def replayer() -> Replayer:
    return Replayer(workflows=WORKFLOWS, workflow_runner=sandbox(), data_converter=DATA_CONVERTER)


@pytest.mark.integration
async def test_what_was_just_done_can_be_replayed() -> None:
    """Every run of every workflow of a metric's whole life replays, continue-as-new and removal included."""
    async with cluster() as client:
        histories = await record(client)
    assert {name.split("-")[0] for name in histories} >= set(KINDS)
    assert sum(name.startswith("EventProcessor-") for name in histories) > 1
    for history in histories.values():
        await replayer().replay_workflow(history)


@pytest.mark.integration
async def test_what_outputs_have_just_done_can_be_replayed() -> None:
    """Every run of the outputs of a result per key and of an aggregate, of which each function has one."""
    async with cluster() as client:
        histories = await histories_of(client, await SCENARIOS["output"](client))
    assert {name.split("-")[0] for name in histories} == {"TopicOutput"}
    assert len(histories) > 3
    for history in histories.values():
        await replayer().replay_workflow(history)


@pytest.mark.integration
async def test_what_a_sink_has_just_done_can_be_replayed() -> None:
    """Every run of a sink, and the catalog that has known and removed its target."""
    async with cluster() as client:
        histories = await histories_of(client, await SCENARIOS["sink"](client))
    assert {name.split("-")[0] for name in histories} == {"Sink", "MetricCatalog"}
    assert len(histories) > 2
    for history in histories.values():
        await replayer().replay_workflow(history)


@pytest.mark.integration
async def test_what_reconcilers_have_just_done_can_be_replayed() -> None:
    async with cluster() as client:
        histories = await histories_of(client, await SCENARIOS["reconciler"](client))
    assert {name.split("-")[0] for name in histories} == {"Reconciler"}
    assert len(histories) > 3
    for history in histories.values():
        await replayer().replay_workflow(history)


@pytest.mark.integration
async def test_what_a_rule_has_just_done_can_be_replayed() -> None:
    """Every run of the worker of a rule with a clock, another way of telling included."""
    async with cluster() as client:
        histories = await histories_of(client, await SCENARIOS["alert"](client))
    assert {name.split("-")[0] for name in histories} == {"AlertRule"}
    assert len(histories) > 2
    text = "".join(history.to_json() for history in histories.values())
    assert "source_read" in text
    assert "tell_targets" in text
    assert "EVENT_TYPE_TIMER_STARTED" in text
    for history in histories.values():
        await replayer().replay_workflow(history)


@pytest.mark.parametrize("file", recorded(), ids=lambda file: f"{file.parent.name}/{file.name}")
async def test_recorded_histories_can_be_replayed(file: Path) -> None:
    """A history recorded by an earlier release replays: workers that run survive the upgrade."""
    await replayer().replay_workflow(read(file))


@pytest.mark.parametrize("release", sorted(p for p in FOLDER.iterdir()), ids=lambda folder: folder.name)
def test_a_release_has_recorded_every_kind_of_workflow(release: Path) -> None:
    """Each release's folder has a history of every kind of workflow that there has always been."""
    assert {file.name.split(".")[0] for file in release.glob("*.json")} >= set(KINDS)
