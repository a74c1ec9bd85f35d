"""Failures of a history's worker whose store is away."""

from __future__ import annotations

import pytest
from temporalio.api.failure.v1 import Failure
from temporalio.converter import DataConverter
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory
from temporalio.testing import ActivityEnvironment

from deploy.cluster_ports import free_ports
from timeline_workers.plan.history_workers import HistorySpec
from workflows.outputs.batches import Batch, pack_batch
from workflows.outputs.history_activities import append_history
from workflows.outputs.open_stores import close_stores

# Of a larger one the server keeps no word.
KEPT_BYTES = 2048


async def test_a_store_that_is_away_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The failure says why, and fits in what Temporal keeps of one; it fills no log with tracebacks."""
    pytest.importorskip("asyncpg")
    (port,) = free_ports(1)
    monkeypatch.setenv("TIMELINE_HISTORY", f"postgresql://somebody:secret@127.0.0.1:{port}/timeline")
    spec = HistorySpec(
        worker_id="history-x.p0",
        node="x",
        partition="p0",
        partitions=1,
        kind="boolean",
        expression="has_existed(a == 1)",
        inputs=(("x.p0",),),
    )
    with pytest.raises(ApplicationError, match="history in PostgreSQL does not answer: ") as failed:
        await ActivityEnvironment().run(append_history, spec, pack_batch(Batch(1, 0, [])))
    await close_stores()
    assert failed.value.category is ApplicationErrorCategory.BENIGN
    failure = Failure()
    await DataConverter.default.encode_failure(failed.value, failure)
    assert "secret" not in str(failure)
    assert failure.ByteSize() < KEPT_BYTES
