"""Record small histories of every workflow type: ``python -m tests.workflows.record_histories`` writes them
anew.

The replay tests run today's code against them. A history that today's code cannot replay means that running
workers would not survive the upgrade: then the change needs a patch marker, not a new recording.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from temporalio.client import Client, WorkflowHistory

from tests.workflows.cluster import (
    apply,
    cluster,
    feed,
    metric,
    result_workers,
    until_everything_arrived,
    worked_example,
)
from timeline_workers.graph.plan import plan
from workflows import ask
from workflows.messages import CATALOG_ID, DRIVER_ID
from workflows.start import all_workers

FOLDER = Path(__file__).parent / "histories"
EXPRESSION = 'duration_where(latest_event_to_state(playerStateChange) == "buffer")'


async def record(client: Client) -> dict[str, WorkflowHistory]:
    """Let a metric be applied, fed, carried to new runs and removed; return the histories of all runs by
    name.
    """
    buffering = metric("buffering", EXPRESSION, partitions=1)
    events = worked_example()
    await apply(client, buffering, continue_as_new_after=2)
    runs: list[tuple[str, str]] = []
    for start in range(0, len(events), 2):
        part = events[start : start + 2]
        await feed(client, buffering, part)
        await until_everything_arrived(client, buffering, part)
        runs += await _runs(client, [spec.worker_id for spec in all_workers(plan(buffering))])
    assert result_workers(buffering)
    await ask.delete(client, "buffering")
    runs += await _runs(client, [CATALOG_ID, DRIVER_ID.format(metric="buffering")])
    histories: dict[str, WorkflowHistory] = {}
    for workflow_id, run_id in dict.fromkeys(runs):
        history = await client.get_workflow_handle(workflow_id, run_id=run_id).fetch_history()
        name = history.events[0].workflow_execution_started_event_attributes.workflow_type.name
        number = sum(known.startswith(f"{name}-") for known in histories)
        histories[f"{name}-{number}"] = history
    return histories


async def _runs(client: Client, workflow_ids: list[str]) -> list[tuple[str, str]]:
    return [(w, (await client.get_workflow_handle(w).describe()).run_id) for w in workflow_ids]


def without_places(history: WorkflowHistory) -> str:
    """The history as JSON, without the names of the process and machine that made it."""

    def clean(value: object) -> object:
        if isinstance(value, dict):
            hidden = {k: "" for k in value if k == "stackTrace"}
            hidden |= {
                k: "recorder" for k, v in value.items() if k == "identity" or (k == "name" and "@" in str(v))
            }
            return {k: hidden.get(k) if k in hidden else clean(v) for k, v in value.items()}
        return [clean(item) for item in value] if isinstance(value, list) else value

    return json.dumps(clean(json.loads(history.to_json())), indent=1) + "\n"


async def main() -> None:
    async with cluster() as client:
        histories = await record(client)
    FOLDER.mkdir(exist_ok=True)
    for kind in ("EventProcessor", "TimelineProcessor", "MetricCatalog", "TimelineDriver"):
        # The second run of a worker, where there is one, begins with carried state.
        chosen = max(name for name in histories if name.startswith(f"{kind}-") and name <= f"{kind}-4")
        text = without_places(histories[chosen])
        (FOLDER / f"{kind}.json").write_text(text)


if __name__ == "__main__":
    asyncio.run(main())
