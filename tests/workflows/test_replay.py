"""Determinism: today's code replays what it has done, and what it had done when the histories were
recorded.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer

from tests.workflows.cluster import cluster
from tests.workflows.record_histories import FOLDER, record
from timeline_workers.temporal_client import DATA_CONVERTER
from workflows.worker import WORKFLOWS, workflow_runner


def replayer() -> Replayer:
    return Replayer(workflows=WORKFLOWS, workflow_runner=workflow_runner(), data_converter=DATA_CONVERTER)


@pytest.mark.integration
async def test_what_was_just_done_can_be_replayed() -> None:
    """Every run of every workflow of a metric's whole life replays, continue-as-new and removal included."""
    async with cluster() as client:
        histories = await record(client)
    assert {name.split("-")[0] for name in histories} == {workflow.__name__ for workflow in WORKFLOWS}
    assert sum(name.startswith("EventProcessor-") for name in histories) > 1
    for history in histories.values():
        await replayer().replay_workflow(history)


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.json")), ids=lambda file: file.stem)
async def test_recorded_histories_can_be_replayed(file: Path) -> None:
    """A history recorded by an earlier version replays: workers that run survive the upgrade."""
    await replayer().replay_workflow(WorkflowHistory.from_json(file.stem, file.read_text()))


def test_a_history_of_every_workflow_is_recorded() -> None:
    """No workflow type is left out of the recorded histories."""
    assert {file.stem for file in FOLDER.glob("*.json")} == {workflow.__name__ for workflow in WORKFLOWS}
