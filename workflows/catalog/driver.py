"""The driver: makes a metric's graph of workers run, and returns who they are.

It registers the metric in the catalog, starts the workers that do not run yet (children first), waits until
each has subscribed to its inputs, and asks the catalog once more whether the metric is still wanted.
Running it again for the same metric starts nothing that runs already, and starts again what was lost.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError

with workflow.unsafe.imports_passed_through():
    from timeline_workers.errors import Code
    from workflows.durable.refusal_codes import passed_on
    from workflows.messages import ConfirmInput, DriverInput, DriverResult, EnsureInput, WorkerName

    from . import catalog_activities

_OPTIONS: dict[str, Any] = {
    "start_to_close_timeout": timedelta(hours=1),
    "heartbeat_timeout": catalog_activities.HEARTBEAT_TIMEOUT,
    "retry_policy": RetryPolicy(maximum_interval=timedelta(seconds=10)),
}


def _beginning(leaves: tuple[WorkerName, ...], started: set[str]) -> tuple[str, ...]:
    new = tuple(leaf.worker_id for leaf in leaves if leaf.worker_id in started)
    return new if len(new) < len(leaves) else ()


@workflow.defn
class TimelineDriver:
    """Instantiates the graph of one metric and returns its workers."""

    def __init__(self) -> None:
        self._stage = "registering"

    @workflow.query
    def stage(self) -> str:
        """What the driver is at: registering, starting, subscribing, confirming or done."""
        return self._stage

    @workflow.run
    async def run(self, input: DriverInput) -> DriverResult:
        """Make the graph run; fails with the message of who refuses the metric."""
        metric = input.metric
        try:
            registered = await workflow.execute_activity(
                catalog_activities.register_metric, metric, **_OPTIONS
            )
            self._stage = "starting"
            ensured = await workflow.execute_activity(
                catalog_activities.ensure_graph,
                EnsureInput(
                    metric=metric,
                    message_bytes=input.message_bytes,
                    continue_as_new_after=input.continue_as_new_after,
                ),
                **_OPTIONS,
            )
            self._stage = "subscribing"
            graph = await workflow.execute_activity(catalog_activities.await_graph, metric, **_OPTIONS)
            self._stage = "confirming"
            confirmed = await workflow.execute_activity(
                catalog_activities.confirm_metric,
                ConfirmInput(metric=metric, generation=registered.generation),
                **_OPTIONS,
            )
        except ActivityError as error:
            cause = error.cause
            if isinstance(cause, ApplicationError):
                raise passed_on(cause) from error
            raise
        if not confirmed.current:
            raise ApplicationError(
                f"metric {metric.name!r} was removed or replaced while its workers were being started; "
                f"workers that no metric needs were stopped again: {len(confirmed.stopped)}",
                {"code": str(Code.SUPERSEDED)},
                type="Superseded",
                non_retryable=True,
            )
        self._stage = "done"
        everyone = {*ensured.started, *ensured.existing}
        started = {*ensured.started, *everyone.intersection(registered.absent)}
        return DriverResult(
            metric=metric.name,
            outcome=registered.outcome,
            event_processor_workers=graph.event_processor_workers,
            result_workers=graph.result_workers,
            started=len(started),
            existing=len(everyone - started),
            stopped=registered.stopped,
            beginning=_beginning(graph.event_processor_workers, started),
            departed=ensured.departed,
            text=graph.text,
        )
