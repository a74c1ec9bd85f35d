"""A workflow that subscribes to workers and is no node: what every kind of output shares.

``timeline_workers.runtime.subscriber.Subscriber`` takes each message of an edge once and in order; what it
makes new is told by ``_tell``, which a kind of output defines, in batches and one batch at a time:

* A batch is recorded before it is told, and is told again, the same, until that has succeeded: by the next
  run, too, where this one ends meanwhile. So it may be told twice, but never another in its place.
* While more waits than a batch or two, the inputs are asked to hold what they have to say.
* An input that was started afresh, or has lost its state, is subscribed to anew under another epoch; what it
  has told below its watermark is final and is not told again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Protocol, TypeVar

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from timeline_workers.errors import StateError
    from timeline_workers.plan.output_workers import Subscribing
    from timeline_workers.runtime.subscriber import Subscriber
    from timeline_workers.wire.edge_messages import sender_of
    from timeline_workers.wire.news import News
    from workflows.durable import carry
    from workflows.durable.inbox import Entry, Inbox, pack, unpack
    from workflows.durable.run_signals import RunSignals
    from workflows.messages import CarriedState, ProcessorResult, SubscriberInput
    from workflows.processor.input_subscriptions import Inputs
    from workflows.worker_status import InputStatus, OutputStatus, StateStatus

    from .batches import BATCH_BYTES, Batch, Gathering, pack_batch, unpack_batch, watermark_of

# How many bytes of payloads wait before inputs are asked to hold, and below which they go on.
HOLD_BYTES = 2 * 1024 * 1024
GO_ON_BYTES = 256 * 1024
_PATIENCE = timedelta(seconds=20)
_EPOCH = datetime.fromtimestamp(0, UTC)
_LAST_WORDS = timedelta(seconds=5)
_OF_THE_STATE = frozenset({"state", "own", "alert", "recent"})


class SubscriberSpec(Subscribing, Protocol):
    """What is known of a subscriber beforehand. ``function``: of an aggregate, which one it hears."""

    @property
    def function(self) -> str:
        """See the class."""

    @property
    def expression(self) -> str:
        """What the workers that it hears compute."""

    @property
    def partition(self) -> str:
        """The partition of these workers."""


Input = TypeVar("Input", bound=SubscriberInput)


class SubscriberWorkflow(RunSignals[Input]):
    """Signals, queries and the run of a subscriber. ``_subscriber`` is None until its state was fetched.

    ``target``: where to it tells what it hears, in a word; ``metrics``: those that it is of, where it is of
    some; ``bridges``: it goes on after what an input has forgotten before it was heard (``Subscriber``).
    """

    target: str
    metrics: tuple[str, ...] = ()
    bridges = False

    def __init__(self, input: Input, spec: SubscriberSpec, carried: bytes) -> None:
        # Not the present time: in a replay that may be another one, and revisions must not go back.
        began = input.began or (workflow.info().workflow_start_time - _EPOCH) // timedelta(microseconds=1)
        self._input = input.model_copy(update={"began": began})
        self._spec = spec
        self._inbox = Inbox()
        self._inputs = Inputs(self._spec, input.epochs, input.subscribed, input.holds, self._spec.function)
        self._subscriber: Subscriber | None = None
        self._batches: deque[Batch] = deque()
        self._telling: asyncio.Task[None] | None = None
        self._applied = 0
        self._refused = input.refused
        self._last_refusal = input.last_refusal
        self._unmended = dict(input.unmended)
        self._published = input.published
        self._watermark = input.told
        self._stopping = ""
        self._tail = unpack(carried)
        if input.carried is None:
            self._open(self._tail)
            self._tail = []

    async def _tell(self, batch: Batch) -> None:
        """Tell ``batch``, again and again until it is told; cancelled, it is told by the next run."""
        raise NotImplementedError

    # What a kind of output keeps and hears besides; most have nothing.

    def _own(self) -> list[bytes]:
        """What it carries to the next run besides."""
        return []

    def _reopen(self, own: list[bytes]) -> None:
        """Go on from what ``_own`` of the run before gave; nothing at the start, or where that is lost."""

    def _ordered(self, order: bytes) -> None:
        """Do what an entry ``order`` of the inbox says."""

    # What a kind of output may do otherwise, or besides.

    def _take(self) -> None:
        """Make batches of what has come."""
        gathering = Gathering(self._input.began + self._published)
        for found in self._heard():
            gathering.add(found)
            if gathering.size >= BATCH_BYTES:
                break
        self._batches.extend(gathering.batches())
        self._published = gathering.revision - self._input.began

    def _note_told(self, batch: Batch) -> None:
        """Remember that ``batch`` has been told."""
        told = watermark_of(batch)
        self._watermark = self._watermark if told is None else told

    def _look_at_the_time(self) -> None:
        """Do what is due, or have it done when it is."""

    def _is_due(self) -> bool:
        """Whether ``_look_at_the_time`` has something to do."""
        return False

    def _configure(self, body: bytes) -> None:
        """Go on by another specification."""

    def _carried_besides(self) -> list[Entry]:
        """What the next run is to have besides; ``_restore`` takes it."""
        return []

    def _restore(self, entries: list[Entry]) -> None:
        """Begin with what ``_carried_besides`` gave; nothing at the start, and where it is lost."""

    # Signals: only remember.

    @workflow.signal
    def receive(self, payload: bytes) -> None:
        """Take a message of an input worker."""
        self._inbox.put("receive", payload)

    @workflow.query
    def status(self) -> OutputStatus:
        """What this is, how far it is, and what ails it."""
        info = workflow.info()
        subscriber = None if self._subscriber is None else self._subscriber.status()
        said = OutputStatus(
            worker_id=self._spec.worker_id,
            expression=self._spec.expression,
            partition=self._spec.partition,
            topic=self.target,
            metrics=self.metrics,
            ready=self._subscriber is not None and self._inputs.ready,
            inputs=tuple(InputStatus(**line) for line in self._inputs.status()),
            edges=(),
            inbox=len(self._inbox),
            runs=self._input.runs,
            applied_in_run=self._applied,
            history_events=info.get_current_history_length(),
            history_bytes=info.get_current_history_size(),
            refused=self._refused,
            last_refusal=self._last_refusal or None,
            unmended=tuple(sorted(self._unmended)),
            paused=None,
            holds=self._inputs.held,
            published=self._published,
            telling=sum(batch.count for batch in self._batches),
            state=None if subscriber is None else StateStatus(**subscriber),
        )
        function = self._spec.function
        return said.model_copy(update={"function": function}) if function else said

    # The run.

    async def _serve(self) -> ProcessorResult:
        if self._subscriber is None:
            await self._fetch_state()
        if self._inputs.held:
            self._inputs.hold(True)
        while True:
            self._drain()
            if self._stopping:
                return await self._leave()
            self._look_at_the_time()
            self._inputs.open()
            self._balance()
            if self._should_continue() or carry.has_had_enough_signals(self._applied):
                await self._continue()
                continue
            if self._batches and self._telling is None:
                self._telling = asyncio.create_task(self._tell(self._batches[0]))
            await workflow.wait_condition(self._has_something_to_do)
            if self._telling is not None and self._telling.done():
                self._told()

    def _told(self) -> None:
        assert self._telling is not None
        self._telling.result()  # a defect fails the workflow task
        self._telling = None
        self._note_told(self._batches.popleft())

    def _has_something_to_do(self) -> bool:
        if (self._telling is not None and self._telling.done()) or self._is_due():
            return True
        if not self._batches and len(self._inbox):
            return True
        return self._inbox.commands() > 0 or self._should_continue()

    def _obey(self) -> None:
        for kind, body in self._inbox.take_commands():
            if kind == "resubscribe":
                self._inputs.reopen(body.decode())
            elif kind == "stop":
                self._stopping = body.decode() or "stopped"
            elif kind == "order":
                self._ordered(body)
            elif kind == "configure":
                self._configure(body)

    def _drain(self) -> None:
        self._obey()
        if not self._batches and not self._stopping:
            self._take()

    def _heard(self) -> Iterator[News]:
        """What is new in the next messages in the inbox, about as many as make a batch."""
        assert self._subscriber is not None
        size = 0
        while len(self._inbox) and size < BATCH_BYTES:
            ((_, body),) = self._inbox.take(1)
            self._applied += 1
            size += len(body)
            try:
                found = self._subscriber.take(body)
            except StateError as error:
                self._refuse(body, error)
                continue
            if self._unmended:
                self._look_what_is_mended(body)
            if found is not None:
                yield found

    def _refuse(self, body: bytes, error: StateError) -> None:
        # One unreadable payload must not wedge it; it is shown instead, and the edge begins anew.
        self._refused += 1
        self._last_refusal = f"receive of {len(body)} bytes: {error}"
        workflow.logger.error("refused %s", self._last_refusal)
        sender, opening = self._inputs.start_over(body) or ("", 0)
        self._unmended[sender] = opening

    def _look_what_is_mended(self, taken: bytes) -> None:
        assert self._subscriber is not None
        sender = sender_of(taken) or ""
        edge, opening = self._subscriber.inbound.get(sender), self._unmended.get(sender)
        if opening is not None and edge is not None and self._inputs.opening_of(edge.epoch) >= opening:
            del self._unmended[sender]
        self._unmended.pop("", None)

    def _balance(self) -> None:
        if not self._inputs.held and self._inbox.size > HOLD_BYTES:
            self._inputs.hold(True)
        elif self._inputs.held and self._inbox.size <= GO_ON_BYTES:
            self._inputs.hold(False)

    async def _settle(self, patience: timedelta) -> None:
        """Wait for what is being told, and give it up after ``patience``."""
        if self._telling is None:
            return
        telling = self._telling
        try:
            await workflow.wait_condition(telling.done, timeout=patience)
        except TimeoutError:
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)
            workflow.logger.warning("%s is told later what waits", self.target)
        else:
            self._told()
        self._telling = None

    async def _leave(self) -> ProcessorResult:
        await self._settle(_LAST_WORDS)
        await self._inputs.close()
        return ProcessorResult(
            worker_id=self._spec.worker_id, runs=self._input.runs + 1, reason=self._stopping
        )

    # From run to run.

    def _open(self, entries: list[Entry]) -> None:
        life = f"{workflow.info().first_execution_run_id}/"
        state = b"".join(body for kind, body in entries if kind == "state")
        me, heard = self._spec.worker_id, self._inputs.workers
        self._subscriber = (
            Subscriber.restore(me, heard, state, life, bridges=self.bridges)
            if state
            else Subscriber(me, heard, life, self._watermark, bridges=self.bridges)
        )
        self._reopen([body for kind, body in entries if kind == "own"])
        for kind, body in entries:
            if kind == "telling":
                self._batches.append(unpack_batch(body))
            elif kind not in _OF_THE_STATE:
                self._inbox.put(kind, body)
        self._restore([entry for entry in entries if entry[0] in ("alert", "recent")])

    async def _fetch_state(self) -> None:
        assert self._input.carried is not None
        try:
            entries = await carry.fetch(self._input.carried)
        except carry.StateGoneError as error:
            # What was told is in the topic; inputs tell what they have under new epochs, and what is not
            # final is told again.
            workflow.logger.error("begins anew from its inputs: %s", error.message)
            entries = []
            for worker in self._inputs.workers:
                self._inputs.reopen(worker)
        arrived = self._inbox.take_all()
        self._open([*entries, *self._tail])
        self._tail = []
        for kind, body in arrived:
            self._inbox.put(kind, body)

    def _should_continue(self) -> bool:
        forced = self._input.continue_as_new_after
        if forced is not None and self._applied >= forced:
            return True
        info = workflow.info()
        if info.is_target_worker_deployment_version_changed():
            return True
        return info.is_continue_as_new_suggested() and carry.has_worked_enough(self._input.carried, 0)

    async def _continue(self) -> None:
        if self._batches and self._telling is None:
            self._telling = asyncio.create_task(self._tell(self._batches[0]))
        await self._settle(_PATIENCE)
        await self._inputs.stop_subscribing()
        await workflow.wait_condition(workflow.all_handlers_finished)
        if any(kind == "stop" for kind, _ in self._inbox.waiting()):
            return
        subscriber, self._subscriber = self._subscriber, None
        assert subscriber is not None
        subscriber.compact()
        state, part = subscriber.snapshot(), carry.STATE_PART_BYTES
        entries: list[Entry] = [("state", state[i : i + part]) for i in range(0, len(state), part)]
        entries += [("telling", pack_batch(batch)) for batch in self._batches]
        entries += [("own", part) for part in self._own()]
        entries += self._carried_besides()
        carried: CarriedState | None = None
        while sum(len(body) for _, body in entries) + self._inbox.size > carry.INLINE_STATE_BYTES:
            carried = await carry.keep([*entries, *self._inbox.take_all()], carried)
            entries = []
        workflow.continue_as_new(
            args=[self._next_input(carried), pack([*entries, *self._inbox.take_all()])],
            initial_versioning_behavior=workflow.ContinueAsNewVersioningBehavior.AUTO_UPGRADE,
        )

    def _next_input(self, carried: CarriedState | None) -> Input:
        return self._input.model_copy(
            update={
                "epochs": self._inputs.epochs,
                "subscribed": tuple(sorted(self._inputs.subscribed)),
                "holds": self._inputs.held,
                "runs": self._input.runs + 1,
                "refused": self._refused,
                "last_refusal": self._last_refusal,
                "unmended": self._unmended,
                "published": self._published,
                "told": self._watermark,
                "carried": carried,
                "continue_as_new_after": self._input.continue_as_new_after or None,
            }
        )
