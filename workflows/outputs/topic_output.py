"""``TopicOutput``: publishes the change points of a metric's result to a Pulsar topic."""

from __future__ import annotations

from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy

with workflow.unsafe.imports_passed_through():
    from workflows.messages import OutputInput, ProcessorResult

    from .batches import Batch, pack_batch
    from .subscriber_workflow import SubscriberWorkflow

# By name: the activity needs the broker's client library, which workflows do not know.
PUBLISH = "publish_news"
HEARTBEAT_TIMEOUT = timedelta(seconds=10)


@workflow.defn
class TopicOutput(SubscriberWorkflow[OutputInput]):
    """Writes what one worker of a metric's result says, as a changelog (``wire.changelog_messages``)."""

    @workflow.init
    def __init__(self, input: OutputInput, carried: bytes) -> None:
        self._to = input.spec
        self.target, self.metrics = self._to.topic, (self._to.metric,)
        super().__init__(input, self._to, carried)

    @workflow.run
    async def run(self, input: OutputInput, carried: bytes) -> ProcessorResult:
        """Run until `stop`; ``carried`` is what the run before left (b"" at the start)."""
        return await self._serve()

    async def _tell(self, batch: Batch) -> None:
        await workflow.execute_activity(
            PUBLISH,
            args=[self._to, pack_batch(batch)],
            result_type=int,
            start_to_close_timeout=timedelta(minutes=10),
            heartbeat_timeout=HEARTBEAT_TIMEOUT,
            retry_policy=RetryPolicy(
                initial_interval=timedelta(milliseconds=500), maximum_interval=timedelta(seconds=20)
            ),
        )
