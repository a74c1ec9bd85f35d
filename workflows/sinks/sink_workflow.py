"""A ``Sink``: sends one target what the rules of one partition say, and keeps what could not be sent yet.

It is started with the first batch of messages, and ends with its target. What it is told is recorded before
it is sent; batches are sent one after the other, by an activity that answers for each message. An activity
whose process was killed is run again with the same messages and numbers. Nobody waits for a sink: beyond the
messages that may wait the oldest become dead letters, as do those that the target refuses, or has not taken
for as long as its file says.
"""

from __future__ import annotations

import asyncio
from collections import deque
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, Final

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError

with workflow.unsafe.imports_passed_through():
    import msgspec

    from timeline_workers.alerts.delivery_queue import DeliveryQueue, GivenUp
    from timeline_workers.alerts.sink_messages import SinkMessage, unpack_sink_batch
    from timeline_workers.errors import StateError
    from timeline_workers.targets.sending import Answer, Parcel, pack_parcels
    from timeline_workers.targets.target import Target
    from workflows.durable import carry
    from workflows.durable.inbox import Entry, pack, unpack
    from workflows.messages import (
        CarriedState,
        ProcessorResult,
        SinkState,
        SinkStatus,
        WaitingMessage,
    )

    from . import sink_activities

_EPOCH = datetime.fromtimestamp(0, UTC)
_MICROSECOND = timedelta(microseconds=1)
_PATIENCE: Final = timedelta(seconds=20)
_LAST_WORDS: Final = timedelta(seconds=5)
_LOOK_AGAIN: Final = timedelta(seconds=30)
_ATTEMPTS: Final = 5  # of a batch whose process was killed
_SHOWN: Final = 20
_LETTERS_AT_ONCE: Final = 100


class _Held(msgspec.Struct):
    """What a run leaves to the next, beside the numbers in its input."""

    queue: bytes
    letters: list[GivenUp]
    taken: dict[str, int]
    since: dict[str, int]


@workflow.defn
class Sink:
    """The messages of one target, of the rules' workers of one partition."""

    @workflow.init
    def __init__(self, input: SinkState, carried: bytes = b"") -> None:
        began = input.began or (workflow.info().workflow_start_time - _EPOCH) // _MICROSECOND
        self._input = input.model_copy(update={"began": began})
        self._definition: Target | None = input.definition
        self._looked_up = False
        self._paused = input.paused
        self._queue = DeliveryQueue()
        self._letters: deque[GivenUp] = deque()
        self._taken: dict[str, int] = {}
        # Of episodes of which something was given up: the number of the last message that was sent since.
        self._since: dict[str, int] = {}
        self._arrived: deque[Any] = deque()
        self._numbered, self._sent, self._last_sent = input.numbered, input.sent, input.last_sent
        self._given_up, self._lost = input.given_up, input.lost
        self._refused, self._last_refusal = input.refused, input.last_refusal
        self._sending: asyncio.Task[list[Answer]] | None = None
        self._on_its_way: list[SinkMessage] = []
        self._keeping: asyncio.Task[None] | None = None
        self._being_kept = 0
        self._signals = 0
        self._continue_now = False
        self._stopping = ""
        self._tail = unpack(carried)
        if input.carried is None:
            self._restore([])

    # Signals: only remember.

    @workflow.signal
    def take(self, batch: dict[str, Any]) -> None:
        """Take a batch of messages (``alerts.sink_messages``)."""
        self._signals += 1
        self._arrived.append(batch)

    @workflow.signal
    def retry(self) -> None:
        """Do not wait any longer until the target is tried again."""
        self._queue.try_now()

    @workflow.signal
    def pause(self) -> None:
        """Send nothing more until `resume`; what comes waits."""
        self._paused = True

    @workflow.signal
    def resume(self) -> None:
        """Send again what waits."""
        self._paused = False
        self._queue.try_now()

    @workflow.signal
    def look_up(self) -> None:
        """The target's definition is another: look it up."""
        self._looked_up = False
        self._queue.try_now()

    @workflow.signal
    def stop(self, reason: str = "stopped") -> None:
        """End the sink; what waits becomes dead letters."""
        self._stopping = reason or "stopped"

    @workflow.signal
    def continue_as_new(self) -> None:
        """Begin a new run now, as for a drill; nothing is lost."""
        self._continue_now = True

    @workflow.query
    def taken(self, origin: str) -> int:
        """The number of the last message of ``origin`` that is taken; 0: none is."""
        return self._taken.get(origin, 0)

    @workflow.query
    def status(self) -> SinkStatus:
        """What waits, and what ails the target."""
        info, queue = workflow.info(), self._queue
        return SinkStatus(
            worker_id=info.workflow_id,
            target=self._input.target,
            partition=self._input.partition,
            what=None if self._definition is None else self._definition.what,
            missing=self._looked_up and self._definition is None,
            paused=self._paused,
            waiting=len(queue),
            sending=len(self._on_its_way),
            sent=self._sent,
            last_sent=self._last_sent,
            given_up=self._given_up,
            letters=len(self._letters),
            lost=self._lost,
            failures=queue.failures,
            last_failure=queue.last_failure,
            paused_until=queue.paused_until,
            runs=self._input.runs,
            refused=self._refused,
            last_refusal=self._last_refusal,
            history_events=info.get_current_history_length(),
            history_bytes=info.get_current_history_size(),
            origins=dict(self._taken),
            next=tuple(
                WaitingMessage(
                    rule=one.message.rule,
                    key=one.message.key,
                    kind=one.message.kind,
                    episode=one.message.episode,
                    seq=one.message.seq,
                    tried=one.tried_since is not None,
                )
                for one in islice(queue.waiting(), _SHOWN)
            ),
        )

    # The run.

    @workflow.run
    async def run(self, input: SinkState, carried: bytes = b"") -> ProcessorResult:
        """Run until `stop`; ``carried`` is what the run before left."""
        if input.carried is not None:
            self._restore(await carry.fetch(input.carried))
        while True:
            self._drain()
            if self._stopping:
                return await self._leave()
            if self._should_continue() or carry.has_had_enough_signals(self._signals):
                await self._continue()
                continue
            if not self._looked_up:
                await self._look_up()
                continue
            self._begin()
            await self._wait()
            self._settle()

    def _drain(self) -> None:
        while self._arrived:
            try:
                batch = unpack_sink_batch(self._arrived.popleft())
            except StateError as error:
                self._refused += 1
                self._last_refusal = str(error)
                workflow.logger.error("refused a batch: %s", self._last_refusal)
                continue
            if new := batch.after(self._taken.get(batch.origin, 0)):
                self._taken[batch.origin] = batch.last
                self._queue.put(one for one in new if self._is_news(one))
        self._give_up(self._queue.overflow())

    def _is_news(self, told: SinkMessage) -> bool:
        """Whether it is none that was given up before a newer one was sent."""
        return self._since.get(told.message.episode, 0) < told.message.seq

    async def _look_up(self) -> None:
        self._looked_up = True
        found = await workflow.execute_activity(
            sink_activities.find_target,
            self._input.target,
            start_to_close_timeout=timedelta(seconds=30),
            retry_policy=RetryPolicy(maximum_interval=timedelta(seconds=20)),
        )
        self._definition = found[0] if found else None
        self._take_bounds()

    def _take_bounds(self) -> None:
        if (found := self._definition) is not None:
            queue = self._queue
            queue.patience, queue.at_once, queue.most = found.give_up, found.at_once, found.most

    def _begin(self) -> None:
        if self._may_send and self._sending is None:
            now = _now()
            while (told := self._queue.take(now)) is not None:
                self._on_its_way.append(told)
            if self._on_its_way:
                self._sending = asyncio.create_task(self._send())
        if self._keeping is None and self._letters:
            self._keeping = asyncio.create_task(self._keep())

    @property
    def _may_send(self) -> bool:
        return self._definition is not None and not self._paused

    async def _send(self) -> list[Answer]:
        first = self._input.began + self._numbered
        self._numbered += len(self._on_its_way)
        parcels = [Parcel(number, told) for number, told in enumerate(self._on_its_way, first)]
        assert self._definition is not None
        try:
            return await workflow.execute_activity(
                sink_activities.send_messages,
                args=[self._definition, workflow.info().workflow_id, pack_parcels(parcels)],
                start_to_close_timeout=timedelta(minutes=10),
                heartbeat_timeout=sink_activities.HEARTBEAT_TIMEOUT,
                retry_policy=RetryPolicy(maximum_attempts=_ATTEMPTS),
            )
        except ActivityError as error:
            why = f"it was not sent: {error.cause or error}"
            return [Answer(verdict="later", why=why)] * len(parcels)

    async def _keep(self) -> None:
        some = list(islice(self._letters, _LETTERS_AT_ONCE))
        self._being_kept = len(some)
        await workflow.execute_activity(
            sink_activities.keep_letters,
            args=[
                workflow.info().workflow_id,
                self._input.target,
                self._input.began + self._given_up - len(self._letters),
                msgspec.msgpack.encode(some),
            ],
            start_to_close_timeout=timedelta(minutes=10),
            heartbeat_timeout=sink_activities.HEARTBEAT_TIMEOUT,
            retry_policy=RetryPolicy(maximum_interval=timedelta(seconds=20)),
        )

    async def _wait(self) -> None:
        timeout: timedelta | None = None
        if self._definition is None:
            timeout = _LOOK_AGAIN if len(self._queue) else None
        elif self._may_send and self._sending is None and (at := self._queue.next_attempt()) is not None:
            timeout = max(at - _now(), 0) * _MICROSECOND
        try:
            await workflow.wait_condition(self._has_something_to_do, timeout=timeout)
        except TimeoutError:
            self._looked_up = self._definition is not None

    def _has_something_to_do(self) -> bool:
        if any(task is not None and task.done() for task in (self._sending, self._keeping)):
            return True
        if self._arrived or self._stopping or not self._looked_up or self._should_continue():
            return True
        if self._letters and self._keeping is None:
            return True
        return self._may_send and self._sending is None and self._queue.is_due

    def _settle(self) -> None:
        if self._sending is not None and self._sending.done():
            answers, told = self._sending.result(), self._on_its_way
            self._sending, self._on_its_way = None, []
            self._hear(list(zip(told, answers, strict=True)))
        if self._keeping is not None and self._keeping.done():
            self._keeping.result()  # a defect fails the workflow task
            for _ in range(self._being_kept):
                self._letters.popleft()
            self._keeping, self._being_kept = None, 0

    def _hear(self, answers: list[tuple[SinkMessage, Answer]]) -> None:
        # First what went well, or it would end the pause that a failure asks for.
        now = _now()
        for told, answer in answers:
            if answer.verdict == "taken":
                self._queue.sent(told)
                self._sent += 1
                self._last_sent = now
                if told.message.episode in self._since:
                    self._since[told.message.episode] = told.message.seq
            elif answer.verdict == "never":
                self._give_up(self._queue.refused(told, answer.why))
        for told, answer in answers:
            if answer.verdict == "later":
                self._looked_up = False  # its definition may have been mended
                self._give_up(self._queue.failed(told, now, answer.why, answer.after))

    def _give_up(self, given_up: list[GivenUp]) -> None:
        self._letters.extend(given_up)
        self._given_up += len(given_up)
        for one in given_up:
            self._since.setdefault(one.told.message.episode, 0)
        while len(self._since) > self._queue.most:
            del self._since[next(iter(self._since))]
        while len(self._letters) > max(self._queue.most, self._being_kept):
            # Neither target nor broker takes them, and what is kept is bounded.
            del self._letters[self._being_kept]
            self._lost += 1

    async def _leave(self) -> ProcessorResult:
        await self._end_tasks(_LAST_WORDS)
        self._give_up(self._queue.give_up_all(f"its target was removed: {self._stopping}"))
        while self._letters:
            self._keeping = asyncio.create_task(self._keep())
            await self._end_tasks(_LAST_WORDS)
            if self._keeping is not None:
                workflow.logger.error("%d messages were not kept as dead letters", len(self._letters))
                break
        return ProcessorResult(
            worker_id=workflow.info().workflow_id, runs=self._input.runs + 1, reason=self._stopping
        )

    async def _end_tasks(self, patience: timedelta) -> None:
        """Wait for what is under way; after ``patience`` it is cancelled, and stays what is to be done."""
        tasks = [task for task in (self._sending, self._keeping) if task is not None]
        try:
            await workflow.wait_condition(lambda: all(task.done() for task in tasks), timeout=patience)
        except TimeoutError:
            self._settle()
            late = [task for task in tasks if not task.done()]
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        else:
            self._settle()

    # From run to run.

    def _restore(self, kept: list[Entry]) -> None:
        entries, self._tail = [*kept, *self._tail], []
        state = b"".join(body for kind, body in entries if kind == "state")
        if state:
            held = msgspec.msgpack.decode(state, type=_Held)
            self._queue.restore(held.queue)
            self._letters.extend(held.letters)
            self._taken, self._since = held.taken, held.since
        arrived = [msgspec.msgpack.decode(body) for kind, body in entries if kind == "receive"]
        self._arrived.extendleft(reversed(arrived))
        self._take_bounds()

    def _should_continue(self) -> bool:
        forced = self._input.continue_as_new_after
        if self._continue_now or (forced is not None and self._signals >= forced):
            return True
        return workflow.info().is_continue_as_new_suggested() and carry.has_worked_enough(
            self._input.carried, 0
        )

    async def _continue(self) -> None:
        await self._end_tasks(_PATIENCE)
        await workflow.wait_condition(workflow.all_handlers_finished)
        if self._stopping:
            return
        held = _Held(self._queue.snapshot(), list(self._letters), self._taken, self._since)
        state, part = msgspec.msgpack.encode(held), carry.STATE_PART_BYTES
        entries: list[Entry] = [("state", state[i : i + part]) for i in range(0, len(state), part)]
        entries += self._take_arrived()
        carried: CarriedState | None = None
        while sum(len(body) for _, body in entries) > carry.INLINE_STATE_BYTES:
            carried = await carry.keep(entries, carried)
            entries = self._take_arrived()
        workflow.continue_as_new(
            args=[
                self._input.model_copy(
                    update={
                        "runs": self._input.runs + 1,
                        "refused": self._refused,
                        "last_refusal": self._last_refusal,
                        "carried": carried,
                        "definition": self._definition,
                        "paused": self._paused,
                        "numbered": self._numbered,
                        "sent": self._sent,
                        "last_sent": self._last_sent,
                        "given_up": self._given_up,
                        "lost": self._lost,
                    }
                ),
                pack(entries),
            ]
        )

    def _take_arrived(self) -> list[Entry]:
        arrived, self._arrived = self._arrived, deque()
        return [("receive", msgspec.msgpack.encode(one)) for one in arrived]


def _now() -> int:
    return (workflow.now() - _EPOCH) // _MICROSECOND
