"""Advice where no worker process answers: `timeline dev` starts one again by itself, if it runs one."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from timeline_workers.client import dev_status
from timeline_workers.servers.embedded.embedded_servers import PROCESSES, Addresses
from workflows.client.queues import NO_WORKER

TEXT = f"no worker process answers; {NO_WORKER}"


@pytest.mark.parametrize(
    ("names", "address", "is_mended"),
    [(["worker"], "127.0.0.1:1", True), (["feeder"], "127.0.0.1:1", False), (["worker"], "far:1", False)],
)
def test_only_a_worker_of_dev_is_started_again(
    names: list[str], address: str, is_mended: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    states: list[dict[str, Any]] = [
        {"name": name, "state": "running", "pid": os.getpid(), "restarts": 0, "reason": None}
        for name in names
    ]
    (tmp_path / PROCESSES).write_text(json.dumps(states))
    running = Addresses.model_construct(temporal="127.0.0.1:1", data_dir=tmp_path, pid=7)
    monkeypatch.setattr(dev_status, "running_addresses", lambda: running)
    monkeypatch.setenv("TEMPORAL_ADDRESS", address)
    told = dev_status.by_dev(TEXT)
    assert ("`timeline dev`, process 7, starts it again by itself" in told) == is_mended
    assert (NO_WORKER in told) != is_mended
    assert dev_status.by_dev("all is well") == "all is well"
