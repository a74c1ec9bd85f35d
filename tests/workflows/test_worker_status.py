"""The model of ``status``: what is read is passed on as it was, whichever release it came from."""

from __future__ import annotations

import json
from typing import Any

import pytest
from temporalio.contrib.pydantic import pydantic_data_converter

from tests.workflows.cluster import metric
from timeline_workers.plan.physical import plan, workers
from timeline_workers.runtime.node_worker import NodeWorker
from workflows.client.worker_health import Health, judge
from workflows.worker_status import StateStatus, WorkerStatus

OF_0_1_0: dict[str, Any] = {
    "worker_id": "w.p0",
    "ready": True,
    "inputs": [{"worker": "l.p0", "subscribed": True, "last_error": None}],
    "edges": [{"subscriber": "r.p0", "state": "idle", "last_error": None}],
    "refused": 0,
    "last_refusal": None,
    "state": {"watermark": None, "progress": [{"partition": 0, "major": 1, "minor": 2, "watermark": 3}]},
}
OF_TOMORROW: dict[str, Any] = {**OF_0_1_0, "mood": {"is": "good"}, "paused": "too large"}


@pytest.mark.parametrize("said", [OF_0_1_0, OF_TOMORROW, {}], ids=["0.1.0", "tomorrow", "nothing"])
def test_a_status_is_passed_on_as_it_was(said: dict[str, Any]) -> None:
    """No key is added and none is lost, by the model itself, in a Health, and on the wire."""
    status = WorkerStatus.model_validate(said)
    assert status.model_dump(mode="json") == said
    assert Health(worker_id="w.p0", state="ok", status=status).model_dump(mode="json")["status"] == said
    (payload,) = pydantic_data_converter.payload_converter.to_payloads([status])
    assert json.loads(payload.data) == said


def test_what_earlier_releases_leave_out_has_defaults() -> None:
    """They know of no pause and no archives, and their refusals are never made up for."""
    status = WorkerStatus.model_validate(OF_0_1_0)
    assert (status.paused, status.archives, status.progress[0].mark.rank()) == (None, 0, (1, 2))
    assert judge(status) == ("ok", None)
    refusing = WorkerStatus.model_validate({**OF_0_1_0, "refused": 2, "last_refusal": "bad"})
    assert judge(refusing) == ("failing", "2 payloads refused; the last: bad")
    mended = WorkerStatus.model_validate({**OF_0_1_0, "refused": 2, "last_refusal": "bad", "unmended": []})
    assert judge(mended) == ("ok", None)


def test_every_state_of_a_node_fits_the_model() -> None:
    """What a node says of itself comes through unchanged, fused and not."""
    cirr = metric("cirr", partitions=1)
    for planned in (plan(cirr), plan(cirr.model_copy(update={"fuse": True}))):
        for spec in workers(planned, "p0"):
            said = NodeWorker(spec).status()
            assert StateStatus.model_validate(said).model_dump(mode="json") == json.loads(json.dumps(said))
