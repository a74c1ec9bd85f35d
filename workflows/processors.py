"""A timeline worker: one node of the expression graph in one partition, as a durable workflow.

The node itself (``timeline_workers.runtime.worker.NodeWorker``) is pure and deterministic; what is here
gives it signals, carries its messages and lets it live for years:

* Signal handlers only append to the inbox; the run method drains it between two awaits. So a state change
  is never seen half done, and what has not been drained travels to the next run in the order it came.
* An ``EventProcessor`` is a leaf, fed by the feeder through ``ingest``; a ``TimelineProcessor`` subscribes
  to its input workers and hears them through ``receive``. Both serve subscribers and questions alike.
* The run continues as new when Temporal suggests it: everything, high-water marks included, is carried in
  the input, or, when it is too large for that, left in the history of the run that ends (``keep_state``),
  where the next one fetches it.
* Where worker processes have a build id, a run is pinned to the build it began on, and continues as new when
  another build becomes the current one.

Payloads are applied exactly once per source position (leaves) and per edge and sequence number (others),
across crashes and continue-as-new. A payload that cannot be decoded is refused, counted and shown in
`status`.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RetryPolicy, SearchAttributeKey
from temporalio.exceptions import ApplicationError, FailureError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from timeline_workers.errors import QuestionError, StateError
    from timeline_workers.runtime.worker import NodeWorker
    from timeline_workers.wire.edges import open_message

    from . import activities
    from .bounds import check_question, check_reply
    from .edges import Edges, is_gone, reason, run_local
    from .inbox import Entry, Inbox, Kind, pack, split, unpack
    from .messages import CarriedState, ProcessorInput, ProcessorResult, Question, SubscribeInput

FETCHING_STATE = "is fetching its state"
METRIC_ATTRIBUTE = SearchAttributeKey.for_keyword_list("TimelineMetric")

# Temporal warns of an input beyond 512 KiB, and refuses one beyond 2 MiB.
INLINE_STATE_BYTES = 448 * 1024
STATE_PART_BYTES = 448 * 1024
# A run whose state came through its history has that much history already: let it do some work before the
# next.
_WORK_PER_STATE = 3
# Temporal ends a run whose history passes 50 MiB.
_HISTORY_LIMIT_BYTES = 46 * 1024 * 1024
_PATIENCE = timedelta(seconds=20)
OVERSIZED_BYTES = 16 * 1024 * 1024


class _Processor:
    """What both kinds of worker share."""

    def __init__(self, input: ProcessorInput, carried: bytes) -> None:
        self._input = input
        self._spec = input.spec
        self._metrics = list(input.metrics)
        self._epochs = dict(input.epochs)
        self._subscribed = set(input.subscribed)
        self._edge_epochs = dict(input.edge_epochs)
        self._subscribing: dict[str, asyncio.Task[None]] = {}
        self._input_errors: dict[str, str] = {}
        self._refused = input.refused
        self._last_refusal = input.last_refusal
        self._applied = 0
        self._stopping = ""
        self._inbox = Inbox()
        self._node: NodeWorker | None = None
        self._edges: Edges | None = None
        self._inputs = list(dict.fromkeys(worker for slot in self._spec.inputs for worker in slot))
        if input.carried is None:
            self._open_node(unpack(carried))
        else:
            self._tail = unpack(carried)

    # Signals: only remember.

    @workflow.signal
    def subscribe(self, subscription: SubscribeInput) -> None:
        """Open (again) the edge to a subscriber; its first messages are a snapshot of everything."""
        self._inbox.put("subscribe", subscription.model_dump_json().encode())

    @workflow.signal
    def unsubscribe(self, subscriber: str) -> None:
        """Close the edge to a subscriber."""
        self._inbox.put("unsubscribe", subscriber.encode())

    @workflow.signal
    def resubscribe(self, worker_id: str) -> None:
        """Open the edge from an input anew: it was started afresh and does not know its subscribers."""
        self._inbox.put("resubscribe", worker_id.encode())

    @workflow.signal
    def attach(self, metric: str) -> None:
        """Note that a metric needs this worker."""
        self._inbox.put("attach", metric.encode())

    @workflow.signal
    def detach(self, metric: str) -> None:
        """Note that a metric does not need this worker any more."""
        self._inbox.put("detach", metric.encode())

    @workflow.signal
    def stop(self, reason: str = "stopped") -> None:
        """End the worker: it unsubscribes from its inputs and returns."""
        self._inbox.put("stop", reason.encode())

    @workflow.signal
    def continue_as_new(self) -> None:
        """Begin a new run now, as for a drill; nothing is lost."""
        self._input = self._input.model_copy(update={"continue_as_new_after": 0})

    # Questions: plain JSON in and out.

    @workflow.query
    def value_at(self, question: Question = None) -> Any:
        """The value of a key at an instant: ``{"key": …, "at": …, "unit": "s"}``."""
        return self._answer("value_at", question)

    @workflow.query
    def spans(self, question: Question = None) -> Any:
        """The spans of a key over a range: ``{"key": …, "start": …, "end": …}``."""
        return self._answer("spans", question)

    @workflow.query
    def change(self, question: Question = None) -> Any:
        """The change of a key over a range, or per interval: ``{"key": …, "start": …, "end": …, "every":
        "1m"}``.
        """
        return self._answer("change", question)

    @workflow.query
    def keys(self, question: Question = None) -> Any:
        """The keys this worker knows, a page at a time: ``{"after": 0, "limit": 1000}``, or nothing."""
        return self._answer("keys", {} if question is None else question)

    @workflow.query
    def status(self) -> dict[str, Any]:
        """What this worker is, how far it is, and what ails it. ``ready``: every input has accepted its
        subscription.
        """
        info = workflow.info()
        return {
            "worker_id": self._spec.worker_id,
            "node": self._spec.node.name,
            "operator": self._spec.node.operator,
            "expression": self._spec.node.expression,
            "partition": self._spec.partition,
            "topic": self._spec.source.topic,
            "metrics": self._metrics,
            "ready": self._node is not None and self._subscribed.issuperset(self._inputs),
            "inputs": [
                {"worker": i, "subscribed": i in self._subscribed, "last_error": self._input_errors.get(i)}
                for i in self._inputs
            ],
            "edges": [] if self._edges is None else self._edges.status(),
            "inbox": len(self._inbox),
            "runs": self._input.runs,
            "applied_in_run": self._applied,
            "history_events": info.get_current_history_length(),
            "history_bytes": info.get_current_history_size(),
            "refused": self._refused,
            "last_refusal": self._last_refusal or None,
            "state": None if self._node is None else self._node.status(),
        }

    def _answer(self, question: str, details: Question) -> Any:
        if self._node is None:
            raise ApplicationError(
                f"worker {self._spec.worker_id} {FETCHING_STATE}; ask again in a moment", type="NotReady"
            )
        try:
            asked = check_question(details, self._spec.source.time_unit)
            return check_reply(getattr(self._node, question)(asked))
        except QuestionError as error:
            raise ApplicationError(str(error), type=type(error).__name__, non_retryable=True) from error

    # The run.

    async def _serve(self) -> ProcessorResult:
        if self._node is None:
            await self._fetch_state()
        while True:
            self._drain()
            if self._stopping:
                return await self._leave()
            assert self._edges is not None
            self._edges.wake()
            self._open_inputs()
            if self._should_continue():
                await self._continue()
            await workflow.wait_condition(
                lambda: len(self._inbox) > 0 or self._should_continue() or self._broken() is not None
            )
            if (failure := self._broken()) is not None:
                # A defect, not a state of the world: the workflow task fails and is tried again, as after a
                # fix.
                raise failure

    def _open_node(self, entries: list[Entry]) -> None:
        state = [body for kind, body in entries if kind == "state"]
        self._node = NodeWorker.restore(self._spec, state) if state else NodeWorker(self._spec)
        self._edges = Edges(self._node, self._input.message_bytes, self._input.gone)
        for kind, body in entries:
            if kind != "state":
                self._inbox.put(kind, body)

    async def _fetch_state(self) -> None:
        carried = self._input.carried
        assert carried is not None
        entries: list[Entry] = []
        for index in range(carried.chunks):
            # Not local: several results in one workflow task would pass the 4 MiB that one message may have.
            part = await workflow.execute_activity(
                activities.kept_state,
                args=[self._spec.worker_id, carried.run_id, index],
                start_to_close_timeout=timedelta(seconds=60),
                retry_policy=RetryPolicy(maximum_interval=timedelta(seconds=30)),
            )
            entries += unpack(part)
        arrived = self._inbox.take_all()
        self._open_node(entries + self._tail)
        self._tail = []
        for kind, body in arrived:
            self._inbox.put(kind, body)

    def _drain(self) -> None:
        for kind, body in self._inbox.take_all():
            if self._stopping:
                continue
            try:
                self._apply(kind, body)
            except StateError as error:
                # One unreadable payload must not wedge the worker; it is shown instead.
                self._refused += 1
                self._last_refusal = f"{kind} of {len(body)} bytes: {error}"
                workflow.logger.error("refused %s", self._last_refusal)
                if kind == "receive":
                    self._start_over(body)

    def _apply(self, kind: Kind, body: bytes) -> None:
        assert self._node is not None
        assert self._edges is not None
        if kind == "ingest":
            self._applied += 1
            self._node.ingest(body)
        elif kind == "receive":
            self._applied += 1
            self._node.receive(body)
        elif kind == "subscribe":
            subscription = SubscribeInput.model_validate_json(body)
            if self._edge_epochs.get(subscription.subscriber) == subscription.epoch:
                return
            self._edge_epochs[subscription.subscriber] = subscription.epoch
            self._edges.opened(subscription.subscriber)
            self._node.subscribe(subscription.subscriber, subscription.epoch)
        elif kind == "unsubscribe":
            self._edge_epochs.pop(body.decode(), None)
            self._edges.closed(body.decode())
            self._node.unsubscribe(body.decode())
        elif kind == "resubscribe":
            self._reopen(body.decode())
        elif kind == "attach":
            self._set_metrics([*self._metrics, body.decode()])
        elif kind == "detach":
            self._set_metrics([name for name in self._metrics if name != body.decode()])
        elif kind == "stop":
            self._stopping = body.decode() or "stopped"

    def _set_metrics(self, names: list[str]) -> None:
        wanted = sorted(set(names))
        if wanted == self._metrics:
            return
        self._metrics = wanted
        if self._input.searchable:
            change = METRIC_ATTRIBUTE.value_set(wanted) if wanted else METRIC_ATTRIBUTE.value_unset()
            workflow.upsert_search_attributes([change])

    def _broken(self) -> BaseException | None:
        return None if self._edges is None else self._edges.failure

    # Inputs.

    def _open_inputs(self) -> None:
        for worker in self._inputs:
            if worker not in self._subscribed and worker not in self._subscribing:
                self._epochs.setdefault(worker, 0)
                self._subscribing[worker] = asyncio.create_task(self._subscribe_to(worker))

    def _reopen(self, worker: str) -> None:
        if worker not in self._inputs:
            return
        task = self._subscribing.pop(worker, None)
        if task is not None:
            task.cancel()
        self._subscribed.discard(worker)
        self._epochs[worker] = self._epochs.get(worker, 0) + 1

    def _start_over(self, message: bytes) -> None:
        # After a gap nothing of the edge can be taken any more: a new epoch begins with a snapshot.
        try:
            sender = str(open_message(message)["from"])
        except StateError:
            return
        if sender in self._subscribed:
            self._reopen(sender)

    async def _subscribe_to(self, worker: str) -> None:
        # The first run's id makes the epoch this worker's own, and the same in all of its runs.
        epoch = f"{workflow.info().first_execution_run_id}/{self._epochs[worker]}"
        pause = 1.0
        while True:
            try:
                await run_local(
                    activities.open_edge, worker, SubscribeInput(subscriber=self._spec.worker_id, epoch=epoch)
                )
            except FailureError as error:
                if is_cancelled_exception(error):
                    raise
                self._input_errors[worker] = reason(error)
                workflow.logger.warning("cannot subscribe to %s yet: %s", worker, reason(error))
                await workflow.sleep(pause)
                pause = min(2 * pause, 60.0)
            else:
                break
        self._input_errors.pop(worker, None)
        self._subscribed.add(worker)
        self._subscribing.pop(worker, None)

    async def _stop_subscribing(self) -> None:
        tasks = list(self._subscribing.values())
        self._subscribing.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _leave(self) -> ProcessorResult:
        assert self._edges is not None
        await self._edges.settle(timedelta(seconds=1))
        await self._stop_subscribing()
        for worker in self._inputs:
            try:
                await run_local(activities.close_edge, worker, self._spec.worker_id)
            except FailureError as error:
                if not is_gone(error):
                    workflow.logger.warning("could not unsubscribe from %s: %s", worker, reason(error))
        return ProcessorResult(
            worker_id=self._spec.worker_id, runs=self._input.runs + 1, reason=self._stopping
        )

    # Continue as new.

    def _should_continue(self) -> bool:
        forced = self._input.continue_as_new_after
        if forced is not None and self._applied >= forced:
            return True
        info = workflow.info()
        if info.is_target_worker_deployment_version_changed():
            return True  # another build is current: this worker's next run is its first there
        if not info.is_continue_as_new_suggested():
            return False
        carried = self._input.carried
        if carried is None:
            return True
        size = info.get_current_history_size()
        enough = min(_WORK_PER_STATE * carried.size, _HISTORY_LIMIT_BYTES - 2 * carried.size)
        return size >= enough or info.get_current_history_length() >= 40_000

    async def _continue(self) -> None:
        assert self._node is not None
        assert self._edges is not None
        await self._edges.settle(_PATIENCE)
        await self._stop_subscribing()
        await workflow.wait_condition(workflow.all_handlers_finished)
        self._drain()
        if self._stopping:
            return
        entries: list[Entry] = [("state", part) for part in self._node.snapshot(STATE_PART_BYTES)]
        size = sum(len(body) for _, body in entries)
        carried = None
        while size + self._inbox.size > INLINE_STATE_BYTES:
            # Whatever arrives while this is written goes after it, in the order it came.
            carried = await self._keep([*entries, *self._inbox.take_all()], carried)
            entries, size = [], 0
        workflow.continue_as_new(
            args=[
                self._input.model_copy(
                    update={
                        "metrics": tuple(self._metrics),
                        "epochs": self._epochs,
                        "subscribed": tuple(sorted(self._subscribed)),
                        "edge_epochs": self._edge_epochs,
                        "gone": self._edges.gone,
                        "runs": self._input.runs + 1,
                        "refused": self._refused,
                        "last_refusal": self._last_refusal,
                        "carried": carried,
                        # The drill by signal is for one run; a number of payloads holds for every run.
                        "continue_as_new_after": self._input.continue_as_new_after or None,
                    }
                ),
                pack([*entries, *self._inbox.take_all()]),
            ],
            # Where worker processes are versioned, the next run begins on the current build.
            initial_versioning_behavior=workflow.ContinueAsNewVersioningBehavior.AUTO_UPGRADE,
        )

    async def _keep(self, entries: list[Entry], carried: CarriedState | None) -> CarriedState:
        """Leave entries in this run's history, after those of ``carried``; returns where they are."""
        run_id = workflow.info().run_id
        kept, size = (0, 0) if carried is None else (carried.chunks, carried.size)
        for part in map(pack, split(entries, STATE_PART_BYTES)):
            await workflow.execute_activity(
                activities.keep_state,
                part,
                activity_id=activities.state_activity_id(kept),
                start_to_close_timeout=timedelta(seconds=60),
            )
            kept, size = kept + 1, size + len(part)
        if size > OVERSIZED_BYTES:
            workflow.logger.warning(
                "the state of %s is %d MiB; over %d MiB a run's history limit is near: use more partitions",
                self._spec.worker_id,
                size >> 20,
                OVERSIZED_BYTES >> 20,
            )
        return CarriedState(run_id=run_id, chunks=kept, size=size)


@workflow.defn
class EventProcessor(_Processor):
    """A leaf of the graph: turns the feeder's batches into a timeline per key."""

    @workflow.init
    def __init__(self, input: ProcessorInput, carried: bytes) -> None:
        super().__init__(input, carried)

    @workflow.run
    async def run(self, input: ProcessorInput, carried: bytes) -> ProcessorResult:
        """Run until `stop`; ``carried`` is what the run before left (b"" at the start)."""
        return await self._serve()

    @workflow.signal
    def ingest(self, payload: bytes) -> None:
        """Take a batch of events of the feeder (``timeline_workers.wire.leaf``)."""
        self._inbox.put("ingest", payload)


@workflow.defn
class TimelineProcessor(_Processor):
    """A derived node of the graph: turns its inputs' timelines into its own."""

    @workflow.init
    def __init__(self, input: ProcessorInput, carried: bytes) -> None:
        super().__init__(input, carried)

    @workflow.run
    async def run(self, input: ProcessorInput, carried: bytes) -> ProcessorResult:
        """Run until `stop`; ``carried`` is what the run before left (b"" at the start)."""
        return await self._serve()

    @workflow.signal
    def receive(self, payload: bytes) -> None:
        """Take a message of an input worker."""
        self._inbox.put("receive", payload)
