"""``Reconciler``: knows which keys of a partition are to be called, and has an activity call them.

It hears the node that it follows as an output does, and orders of people and programs; what comes of both is
said by ``timeline_workers.reconcilers.key_group``. Calls are activities in the processes that have the
function, on a task queue of the reconciler's own. A run ends only while no call is under way.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, TimeoutError as TimedOut, TimeoutType

with workflow.unsafe.imports_passed_through():
    from timeline_workers.errors import Code, StateError, UnknownNameError
    from timeline_workers.reconcilers.calls import Batch as Calls, State, pack_batch, unpack_outcomes
    from timeline_workers.reconcilers.key_group import KeyGroup
    from timeline_workers.reconcilers.levels import Levels
    from timeline_workers.reconcilers.orders import Order, unpack_order
    from timeline_workers.reconcilers.reconciler_status import (
        GroupSaid,
        KeyPage,
        KeySaid,
        group_said,
        key_said,
        page_of,
    )
    from timeline_workers.reconcilers.reconciler_workers import ReconcilerSpec
    from timeline_workers.runtime.subscriber import Subscriber
    from timeline_workers.wire.news import unpack_news
    from workflows.durable import carry
    from workflows.durable.refusal_codes import not_ready, refused_question
    from workflows.messages import CarriedState, KeysQuestion, ProcessorResult, ReconcilerInput
    from workflows.outputs.batches import Batch
    from workflows.outputs.subscriber_workflow import SubscriberWorkflow

MAKE_CALLS = "make_calls"
# How long calls wait for a process that makes them before they are taken back, as what is desired may change.
_NOBODY = timedelta(seconds=60)
_LONGEST_CALL = timedelta(days=30)
_PATIENCE = timedelta(seconds=5)


def calls_queue(task_queue: str, reconciler: str) -> str:
    """The task queue of the calls of a reconciler whose workers are on ``task_queue``."""
    return f"{task_queue}-reconciler-{reconciler}"


@workflow.defn
class Reconciler(SubscriberWorkflow[ReconcilerInput]):
    """The worker of a reconciler for a partition, or for a key."""

    bridges = True

    @workflow.init
    def __init__(self, input: ReconcilerInput, carried: bytes) -> None:
        self._of = input.spec
        definition = self._of.definition
        self.target = definition.name
        self.metrics = (definition.follow,) if definition.follow else ()
        self._policy = definition.policy(self._of.place, self._of.partitions)
        self._group: KeyGroup | None = None
        self._levels = Levels(definition.when, groups=self._of.groups)
        self._woken = True
        self._rolling = False
        self._ending = input.ending
        self._next_spec: ReconcilerSpec | None = None
        self._flying: dict[int, asyncio.Task[None]] = {}
        self._alarm: tuple[int, asyncio.Task[None]] | None = None
        self._working: asyncio.Task[None] | None = None
        super().__init__(input, self._of, carried)

    @workflow.run
    async def run(self, input: ReconcilerInput, carried: bytes) -> ProcessorResult:
        """Run until `stop`, or the order to end; ``carried`` is what the run before left."""
        return await self._serve()

    async def _serve(self) -> ProcessorResult:
        self._working = asyncio.create_task(self._work())
        return await super()._serve()

    # What others tell and ask.

    @workflow.signal
    def order(self, order: bytes) -> None:
        """Take an order, packed."""
        self._inbox.put("order", order)

    @workflow.query
    def reconciler(self) -> GroupSaid:
        """What it has to do, in numbers."""
        group = self._ready_group()
        return group_said(self._of.worker_id, self._of.partition, group, bool(self._ending))

    @workflow.query
    def reconciler_keys(self, question: KeysQuestion) -> KeyPage:
        """Its keys, a page at a time."""
        group = self._ready_group()
        of = self._of
        after, limit = question.after, min(question.limit, 500)
        return page_of(of.worker_id, of.partition, group, of.definition, after, limit, question.only)

    @workflow.query
    def reconciler_key(self, question: KeysQuestion) -> KeySaid:
        """What it knows of a key."""
        group, key = self._ready_group(), question.key
        held = None if key is None else group.state(key)
        if held is None or key is None:
            name = self._of.definition.name
            error = UnknownNameError(f"reconciler {name!r} has no key {key!r}", code=Code.UNKNOWN_KEY)
            raise refused_question(error)
        said = key_said(key, held, group, self._of.definition)
        return said.model_copy(update={"partition": self._of.partition, "workflow": self._of.worker_id})

    def _ready_group(self) -> KeyGroup:
        if self._group is None:
            raise not_ready(self._of.worker_id)
        return self._group

    def _ordered(self, order: bytes) -> None:
        assert self._group is not None
        self._applied += 1  # it was a signal, too
        try:
            self._do(unpack_order(order), self._group, self._now())
        except (StateError, ValueError) as error:
            self._refused += 1
            self._last_refusal = f"order of {len(order)} bytes: {error}"
            workflow.logger.error("refused %s", self._last_refusal)
        self._woken = True

    def _do(self, order: Order, group: KeyGroup, now: int) -> None:
        key = order.key
        if order.word == "configure":
            spec = ReconcilerSpec.model_validate_json(order.value)
            self._next_spec = None if spec == self._of else spec
        elif order.word == "gone":
            self._forget_all(group, now, force=False)
        elif order.word == "end":
            self._ending = "forced" if order.force else (self._ending or "deleted")
            self._forget_all(group, now, force=order.force)
        elif order.word in ("pause", "resume"):
            group.pause(key, now, order.word == "pause")
        elif key is None:
            if order.word == "retry":
                for one, held in list(group.states()):
                    if held.failures or held.stalled or held.error:
                        group.retry(one, now)
        elif order.word == "notify" and not self._ending:
            group.want(key, State(order.value, stamp=now if order.stamp is None else order.stamp), now)
        elif order.word == "leave":
            self._leave_key(group, key, now, force=order.force)
        elif order.word == "retry":
            group.retry(key, now)
        elif key in group or self._of.definition.follow is None:
            if order.word == "matter":
                group.matter(key, now)
            elif order.word == "observe":
                group.observe(key, str(order.value).encode(), now)

    def _forget_all(self, group: KeyGroup, now: int, *, force: bool) -> None:
        for key, _ in list(group.states()):
            self._leave_key(group, key, now, force=force)
        # What it follows begins anew, if it does: nothing of it was heard then.
        life = f"{workflow.info().first_execution_run_id}/"
        self._subscriber = Subscriber(self._of.worker_id, self._inputs.workers, life, bridges=True)
        self._levels = self._anew(self._of)

    def _leave_key(self, group: KeyGroup, key: str | int, now: int, *, force: bool) -> None:
        number = group.under_way(key)
        if group.leave(key, now, force=force) and number is not None and number in self._flying:
            self._flying[number].cancel()

    # What it does.

    async def _tell(self, batch: Batch) -> None:
        if self._ending:
            return
        for packed in batch.news:
            try:
                self._levels.hear(unpack_news(packed))
            except StateError as error:
                self._refused += 1
                self._last_refusal = str(error)
        self._woken = True

    @staticmethod
    def _now() -> int:
        return workflow.time_ns() // 1000

    async def _work(self) -> None:
        while True:
            await workflow.wait_condition(
                lambda: self._woken and not self._rolling and self._group is not None
            )
            self._woken = False
            assert self._group is not None
            group, now = self._group, self._now()
            for key, state in self._levels.step(now):
                if key in group or state.value is not None:
                    group.want(key, state, now)
            while (calls := group.take(now)) is not None:
                self._flying[calls.number] = asyncio.create_task(self._fly(group, calls))
            if self._ending and not len(group):
                self._inbox.put("stop", self._ending.encode())
            times = [t for t in (group.next_time(), self._levels.next_time()) if t is not None]
            if times:
                self._set_alarm(min(times), now)

    def _set_alarm(self, at: int, now: int) -> None:
        if self._alarm is not None:
            if not self._alarm[1].done() and self._alarm[0] <= at:
                return
            self._alarm[1].cancel()
        self._alarm = (at, asyncio.create_task(self._wake_after(max(at - now, 1000))))

    async def _wake_after(self, microseconds: int) -> None:
        await workflow.sleep(timedelta(microseconds=microseconds))
        self._woken = True

    async def _fly(self, group: KeyGroup, calls: Calls) -> None:
        definition = self._of.definition
        queue = calls_queue(workflow.info().task_queue, definition.name)
        try:
            packed = await workflow.execute_activity(
                MAKE_CALLS,
                args=[definition.name, self._of.worker_id, definition.unit, pack_batch(calls)],
                result_type=bytes,
                activity_id=f"calls-{calls.number}",
                task_queue=queue,
                schedule_to_start_timeout=_NOBODY,
                start_to_close_timeout=_LONGEST_CALL,
                heartbeat_timeout=timedelta(microseconds=definition.lease),
                retry_policy=RetryPolicy(maximum_attempts=1),
                cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
            )
            group.ended(calls.number, unpack_outcomes(packed), self._now())
        except ActivityError as error:
            cause = error.cause
            if isinstance(cause, TimedOut) and cause.type is TimeoutType.SCHEDULE_TO_START:
                said = f"no process has taken it for {_NOBODY.seconds} s; is one running that calls it?"
                group.not_begun(calls.number, self._now(), said)
            else:
                group.ended(calls.number, [], self._now(), _why(error))
        except StateError as error:
            group.ended(calls.number, [], self._now(), str(error))
        finally:
            self._flying.pop(calls.number, None)
            self._woken = True

    def _has_something_to_do(self) -> bool:
        if self._working is not None and self._working.done():
            self._working.result()  # a defect fails the workflow task
        return self._next_spec is not None or super()._has_something_to_do()

    # From run to run.

    def _should_continue(self) -> bool:
        return self._next_spec is not None or super()._should_continue()

    async def _continue(self) -> None:
        self._rolling = True
        try:
            if not await self._land():
                return
            if self._next_spec is not None:
                await self._become(self._next_spec)
            self._levels.compact()
            await super()._continue()
        finally:
            self._rolling = False
            self._woken = True

    async def _land(self) -> bool:
        """Wait until no call is under way; returns whether the run may end then."""
        began, held = workflow.now(), self._inputs.held
        while self._flying:
            try:
                await workflow.wait_condition(
                    lambda: not self._flying or self._inbox.commands() > 0, timeout=_PATIENCE
                )
            except TimeoutError:
                if not held and workflow.now() - began >= _PATIENCE:
                    held = True
                    self._inputs.hold(True)  # a call may take long
            self._obey()
            if self._stopping:
                return False
        return True

    async def _become(self, spec: ReconcilerSpec) -> None:
        """Have the next run be that of another spec; where it hears others, those it has heard end."""
        if spec.inputs != self._of.inputs:
            await self._inputs.close()
            life = f"{workflow.info().first_execution_run_id}/"
            heard = [worker for slot in spec.inputs for worker in slot]
            self._subscriber = Subscriber(spec.worker_id, heard, life, bridges=True)
            self._inputs.subscribed.clear()
            self._levels = self._anew(spec)

    def _anew(self, spec: ReconcilerSpec) -> Levels:
        """Levels that nothing was heard of, whose states are newer than those that were."""
        levels = Levels(spec.definition.when, groups=spec.groups)
        levels.stamp = self._levels.stamp
        return levels

    def _next_input(self, carried: CarriedState | None) -> ReconcilerInput:
        return (
            super()
            ._next_input(carried)
            .model_copy(update={"spec": self._next_spec or self._of, "ending": self._ending})
        )

    def _own(self) -> list[bytes]:
        assert self._group is not None
        part = carry.STATE_PART_BYTES - 1
        return [
            kind + state[i : i + part]
            for kind, state in ((b"g", self._group.snapshot()), (b"l", self._levels.snapshot()))
            for i in range(0, len(state), part)
        ]

    def _reopen(self, own: list[bytes]) -> None:
        name, now = self._of.definition.name, self._now()
        group, levels = (b"".join(part[1:] for part in own if part[:1] == kind) for kind in (b"g", b"l"))
        self._group = (
            KeyGroup.restore(name, self._policy, group, now) if group else KeyGroup(name, self._policy)
        )
        if levels:
            definition = self._of.definition
            self._levels = Levels.restore(definition.when, levels, groups=self._of.groups)


def _why(error: ActivityError) -> str:
    cause = error.cause
    if isinstance(cause, TimedOut):
        return "nothing was heard of the process that called it for a lease; it was killed, or is cut off"
    return f"the calls failed: {cause or error}"
