"""Cutting carried state for what one workflow task may send, and the length of runs that have it."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, strategies as st
from temporalio import workflow
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner, Worker

from tests.workflows.cluster import dev_server
from workflows.durable.carry import AT_ONCE_BYTES, has_had_enough_signals, has_worked_enough, together
from workflows.messages import CarriedState

GRPC_BYTES = 4 * 1024 * 1024


@given(st.lists(st.binary(max_size=30)), st.integers(0, 40))
def test_parts_go_together_within_the_bound(parts: list[bytes], most: int) -> None:
    """Parts go together in order and never beyond the bound unless one is."""
    runs = list(together(parts, most))
    assert [part for run in runs for part in run] == parts
    for run in runs:
        assert run
        assert len(run) == 1 or sum(map(len, run)) <= most
    for run, after in pairwise(runs):
        assert sum(map(len, run)) + len(after[0]) > most, "they would have gone together"


def test_large_archive_entries_fit_a_task() -> None:
    """Large entries of an archive do not pass what a task may send."""
    runs = list(together([bytes(1024 * 1024)] * 5, AT_ONCE_BYTES))
    assert max(sum(map(len, run)) for run in runs) < GRPC_BYTES * 3 // 4
    assert len(runs) == 3


@workflow.defn
class Judged:
    """Whether a run with hardly any history should end after so many signals."""

    @workflow.run
    async def run(self, signals: int) -> bool:
        assert not has_worked_enough(CarriedState(run_id="earlier", chunks=3, size=1 << 20), 0)
        return has_had_enough_signals(signals)


@pytest.mark.integration
async def test_a_run_ends_before_the_signal_limit() -> None:
    """A run with large state ends before temporal takes no more signals."""
    runner = UnsandboxedWorkflowRunner()
    async with (
        dev_server() as client,
        Worker(client, task_queue="judged", workflows=[Judged], workflow_runner=runner),
    ):
        found = {}
        for signals in (0, 7_999, 8_000, 9_999):
            handle = await client.start_workflow(
                "Judged", signals, id=f"judged-{signals}", task_queue="judged", result_type=bool
            )
            found[signals] = await handle.result()
            history = await handle.fetch_history()
            await Replayer(workflows=[Judged], workflow_runner=runner).replay_workflow(history)
    assert found == {0: False, 7_999: False, 8_000: True, 9_999: True}
