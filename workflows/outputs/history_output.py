"""``HistoryOutput``: stores the revisions of one worker of a node in the history store."""

from __future__ import annotations

from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy

with workflow.unsafe.imports_passed_through():
    from workflows.messages import HistoryInput, ProcessorResult

    from .batches import Batch, pack_batch
    from .subscriber_workflow import SubscriberWorkflow

# By name: the activity needs the store's driver, which workflows do not know.
APPEND = "append_history"
HEARTBEAT_TIMEOUT = timedelta(seconds=10)


@workflow.defn
class HistoryOutput(SubscriberWorkflow[HistoryInput]):
    """Stores what one worker of a node says, once for each batch; while the store does not answer it tries
    again, and has the worker that it hears hold what it has to say.
    """

    target = "the history"
    bridges = True

    @workflow.init
    def __init__(self, input: HistoryInput, carried: bytes) -> None:
        super().__init__(input, input.spec, carried)

    @workflow.run
    async def run(self, input: HistoryInput, carried: bytes) -> ProcessorResult:
        """Run until `stop`; ``carried`` is what the run before left (b"" at the start)."""
        return await self._serve()

    async def _tell(self, batch: Batch) -> None:
        await workflow.execute_activity(
            APPEND,
            args=[self._input.spec, pack_batch(batch)],
            result_type=int,
            start_to_close_timeout=timedelta(minutes=10),
            heartbeat_timeout=HEARTBEAT_TIMEOUT,
            retry_policy=RetryPolicy(
                initial_interval=timedelta(milliseconds=500), maximum_interval=timedelta(seconds=20)
            ),
        )
