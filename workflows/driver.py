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
    from timeline_workers.errors import TimelineError
    from timeline_workers.graph.plan import WorkerSpec, plan

    from . import catalog_activities
    from .messages import ConfirmInput, DriverInput, DriverResult, EnsureInput, EnsureResult, WorkerName
    from .render import render_result
    from .start import all_workers, shortened

# The result names every leaf and every result worker, and must stay under Temporal's 2 MiB: of many workers,
# long expressions are cut. `timeline describe` has them whole.
_EXPRESSIONS_LENGTH = 500_000
_OPTIONS: dict[str, Any] = {
    "start_to_close_timeout": timedelta(hours=1),
    "heartbeat_timeout": catalog_activities.HEARTBEAT_TIMEOUT,
    "retry_policy": RetryPolicy(maximum_interval=timedelta(seconds=10)),
}


def _name(spec: WorkerSpec, length: int) -> WorkerName:
    return WorkerName(
        worker_id=spec.worker_id,
        node=spec.node.name,
        operator=spec.node.operator,
        partition=spec.partition,
        expression=shortened(spec.node.expression, length),
    )


def _beginning(leaves: tuple[WorkerName, ...], ensured: EnsureResult) -> tuple[str, ...]:
    started = set(ensured.started)
    new = tuple(leaf.worker_id for leaf in leaves if leaf.worker_id in started)
    return new if len(new) < len(leaves) else ()


@workflow.defn
class TimelineDriver:
    """Instantiates the graph of one metric and returns its workers."""

    def __init__(self) -> None:
        self._stage = "planning"

    @workflow.query
    def stage(self) -> str:
        """What the driver is at: planning, registering, starting, subscribing, confirming or done."""
        return self._stage

    @workflow.run
    async def run(self, input: DriverInput) -> DriverResult:
        """Make the graph run; fails with the message of who refuses the metric."""
        metric = input.metric
        try:
            planned = plan(metric)
        except TimelineError as error:
            raise ApplicationError(str(error), type=type(error).__name__, non_retryable=True) from error
        specs = all_workers(planned)
        try:
            self._stage = "registering"
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
            await workflow.execute_activity(catalog_activities.await_graph, metric, **_OPTIONS)
            self._stage = "confirming"
            confirmed = await workflow.execute_activity(
                catalog_activities.confirm_metric,
                ConfirmInput(
                    name=metric.name,
                    generation=registered.generation,
                    workers=tuple(spec.worker_id for spec in reversed(specs)),
                ),
                **_OPTIONS,
            )
        except ActivityError as error:
            cause = error.cause
            if isinstance(cause, ApplicationError):
                raise ApplicationError(cause.message, type=cause.type, non_retryable=True) from error
            raise
        if not confirmed.current:
            raise ApplicationError(
                f"metric {metric.name!r} was removed or replaced while its workers were being started; "
                f"{len(confirmed.stopped)} workers that nobody needs were ended again",
                type="Superseded",
                non_retryable=True,
            )
        self._stage = "done"
        length = _EXPRESSIONS_LENGTH // (2 * len(specs) or 1)
        leaves = tuple(_name(spec, length) for spec in specs if spec.node.is_leaf)
        results = tuple(_name(spec, length) for spec in specs if spec.node.name == planned.result.name)
        return DriverResult(
            metric=metric.name,
            outcome=registered.outcome,
            event_processor_workers=leaves,
            result_workers=results,
            started=len(ensured.started),
            existing=len(ensured.existing),
            stopped=registered.stopped,
            beginning=_beginning(leaves, ensured),
            text=render_result(planned, leaves, results),
        )
