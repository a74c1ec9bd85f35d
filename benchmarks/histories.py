"""The cost of workers to Temporal, counted from the histories of all their runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client

_ACTIONS = {
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED: "starts and new runs",
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED: "signals",
    EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED: "activities",
    EventType.EVENT_TYPE_TIMER_STARTED: "timers",
    EventType.EVENT_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES: "search attributes",
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED: "updates",
}


class Cost(msgspec.Struct):
    """Of some workers: history events and their bytes, and what counts as an *action*.

    Temporal's price list counts starts, signals, activities, timers and updates, and all local activities of
    one workflow task as one. ``local_activities`` has each; ``actions`` counts them as the list does.
    Queries, of which histories know nothing, are not in it.
    """

    events: int = 0
    bytes: int = 0
    workflow_tasks: int = 0
    local_activities: int = 0
    by_kind: dict[str, int] = {}

    @property
    def actions(self) -> int:
        """All kinds together."""
        return sum(self.by_kind.values())

    def minus(self, before: Cost) -> Cost:
        """What has come on top of ``before``."""
        kinds = Counter(self.by_kind)
        kinds.subtract(before.by_kind)
        return Cost(
            self.events - before.events,
            self.bytes - before.bytes,
            self.workflow_tasks - before.workflow_tasks,
            self.local_activities - before.local_activities,
            dict(kinds),
        )


async def cost_of(client: Client, worker_ids: Sequence[str]) -> Cost:
    """Count all runs of the workers, as far as the server still has them."""
    total = Cost()
    kinds: Counter[str] = Counter()
    for worker_id in worker_ids:
        run: str | None = None
        while True:
            description = await client.get_workflow_handle(worker_id, run_id=run).describe()
            handle = client.get_workflow_handle(worker_id, run_id=description.run_id)
            local: set[int] = set()
            earlier = ""
            async for event in handle.fetch_history_events():
                total.events += 1
                total.bytes += event.ByteSize()
                if event.event_type == EventType.EVENT_TYPE_MARKER_RECORDED:
                    total.local_activities += 1
                    local.add(event.marker_recorded_event_attributes.workflow_task_completed_event_id)
                elif event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED:
                    total.workflow_tasks += 1
                elif event.event_type in _ACTIONS:
                    kinds[_ACTIONS[event.event_type]] += 1
                if event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED:
                    earlier = event.workflow_execution_started_event_attributes.continued_execution_run_id
            kinds["workflow tasks with local activities"] += len(local)
            if not earlier:
                break
            run = earlier
    total.by_kind = dict(kinds)
    return total
