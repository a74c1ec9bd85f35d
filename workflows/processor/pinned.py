"""The timeline workers as versioned worker processes run them: a run stays on the build it began on.

Only a versioned process may say how a workflow is versioned; the server refuses what an unversioned one says
of it, so ``processor_workflow`` cannot. The workflow types have the same names and do the same.
"""

from __future__ import annotations

from temporalio import workflow
from temporalio.common import VersioningBehavior

with workflow.unsafe.imports_passed_through():
    from workflows.messages import (
        AlertInput,
        HistoryInput,
        OutputInput,
        ProcessorInput,
        ProcessorResult,
        ReconcilerInput,
    )
    from workflows.outputs import history_output, rule_worker, topic_output
    from workflows.reconciling import reconciler_workflow

    from . import processor_workflow


@workflow.defn(versioning_behavior=VersioningBehavior.PINNED)
class EventProcessor(processor_workflow.EventProcessor):
    """A leaf, pinned to its build."""

    @workflow.init
    def __init__(self, input: ProcessorInput, carried: bytes) -> None:
        super().__init__(input, carried)

    @workflow.run
    async def run(self, input: ProcessorInput, carried: bytes) -> ProcessorResult:
        """As ``processors.EventProcessor.run``."""
        return await self._serve()


@workflow.defn(versioning_behavior=VersioningBehavior.PINNED)
class TimelineProcessor(processor_workflow.TimelineProcessor):
    """A derived node, pinned to its build."""

    @workflow.init
    def __init__(self, input: ProcessorInput, carried: bytes) -> None:
        super().__init__(input, carried)

    @workflow.run
    async def run(self, input: ProcessorInput, carried: bytes) -> ProcessorResult:
        """As ``processors.TimelineProcessor.run``."""
        return await self._serve()


@workflow.defn(versioning_behavior=VersioningBehavior.PINNED)
class TopicOutput(topic_output.TopicOutput):
    """The output to a topic, pinned to its build."""

    @workflow.init
    def __init__(self, input: OutputInput, carried: bytes) -> None:
        super().__init__(input, carried)

    @workflow.run
    async def run(self, input: OutputInput, carried: bytes) -> ProcessorResult:
        """As ``topic_output.TopicOutput.run``."""
        return await self._serve()


@workflow.defn(versioning_behavior=VersioningBehavior.PINNED)
class HistoryOutput(history_output.HistoryOutput):
    """A worker of the history, pinned to its build."""

    @workflow.init
    def __init__(self, input: HistoryInput, carried: bytes) -> None:
        super().__init__(input, carried)

    @workflow.run
    async def run(self, input: HistoryInput, carried: bytes) -> ProcessorResult:
        """As ``history_output.HistoryOutput.run``."""
        return await self._serve()


@workflow.defn(versioning_behavior=VersioningBehavior.PINNED)
class Reconciler(reconciler_workflow.Reconciler):
    """A reconciler's worker, pinned to its build."""

    @workflow.init
    def __init__(self, input: ReconcilerInput, carried: bytes) -> None:
        super().__init__(input, carried)

    @workflow.run
    async def run(self, input: ReconcilerInput, carried: bytes) -> ProcessorResult:
        """As ``reconciler_workflow.Reconciler.run``."""
        return await self._serve()


@workflow.defn(versioning_behavior=VersioningBehavior.PINNED)
class AlertRule(rule_worker.AlertRule):
    """A worker of a rule, pinned to its build."""

    @workflow.init
    def __init__(self, input: AlertInput, carried: bytes) -> None:
        super().__init__(input, carried)

    @workflow.run
    async def run(self, input: AlertInput, carried: bytes) -> ProcessorResult:
        """As ``rule_worker.AlertRule.run``."""
        return await self._serve()
