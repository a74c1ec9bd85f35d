"""A workflow for each episode: started with its first message, told the others, not started again."""

from __future__ import annotations

from typing import Any

import pytest
from temporalio import workflow
from temporalio.worker import Worker

from tests.targets.receivers import parcel
from tests.workflows.cluster import cluster
from timeline_workers.targets.secrets import Secrets
from timeline_workers.targets.sending import send
from timeline_workers.targets.target_files import load_target

pytestmark = pytest.mark.integration


@workflow.defn(sandboxed=False)
class Freeze:
    """Hears of one episode until it is over."""

    def __init__(self) -> None:
        self.told: list[str] = []

    @workflow.run
    async def run(self, event: dict[str, Any]) -> list[str]:
        await workflow.wait_condition(lambda: self.told[-1:] == ["resolve"])
        return [event["data"]["kind"], *self.told]

    @workflow.signal
    def alert(self, event: dict[str, Any]) -> None:
        self.told.append(event["data"]["kind"])


async def test_a_workflow_hears_of_its_episode() -> None:
    async with cluster() as client, Worker(client, task_queue="bank", workflows=[Freeze]):
        address = client.service_client.config.target_host
        fields = {"kind": "target", "name": "freeze", "workflow": "Freeze", "task_queue": "bank"}
        target = load_target({**fields, "what": "temporal", "signal": "alert", "address": address})

        async def tell(*kinds: str) -> list[str]:
            found = []
            for seq, kind in enumerate(kinds, 1):
                found += await send(target, "sink-freeze.p0", [parcel("card", seq, kind)], Secrets({}))
            return [f"{one.verdict}: {one.why}" for one in found]

        name = parcel("card").told.message.episode
        assert await tell("fire", "moved", "resolve") == [f"taken: workflow {name} is told"] * 3
        assert await client.get_workflow_handle(name).result() == ["fire", "fire", "moved", "resolve"]
        assert await tell("reopen") == [f"taken: workflow {name} has ended"]
        quiet = load_target({**fields, "what": "temporal", "address": address})
        for _ in range(2):
            [answer] = await send(quiet, "s", [parcel("other")], Secrets({}))
            assert answer.verdict == "taken"
        described = await client.get_workflow_handle(parcel("other").told.message.episode).describe()
        assert described.status is not None
