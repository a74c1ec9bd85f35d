"""A timeline worker: one node of the expression graph in one partition, as a durable workflow.

The node itself (``timeline_workers.runtime.node_worker.NodeWorker``) is pure and deterministic; what is here
gives it signals, carries its messages and lets it live for years:

* Signal handlers only append to the inbox; the run method drains it between two awaits. So a state change
  is never seen half done, and what has not been drained travels to the next run in the order it came.
* An ``EventProcessor`` is a leaf, fed by the feeder through ``ingest``; a ``TimelineProcessor`` subscribes
  to its input workers (``inputs``) and hears them through ``receive``. Both serve subscribers (``edges``) and
  questions alike.
* The run continues as new when Temporal suggests it: what need not be kept is given up (``shedding``), and
  everything else, high-water marks included, is carried in the input, or, when it is too large for that, left
  in the history of the run that ends, where the next one fetches it (``carry``).
* Where worker processes have a build id, a run is pinned to the build it began on (``pinned``), and continues
  as new when another build becomes the current one.

Payloads are applied exactly once per source position (leaves) and per edge and sequence number (others),
across crashes and continue-as-new. A payload that cannot be decoded is refused, counted and shown in
`status`.
"""

from __future__ import annotations

from datetime import timedelta

from temporalio import workflow
from temporalio.common import SearchAttributeKey

with workflow.unsafe.imports_passed_through():
    from timeline_workers.errors import StateError
    from timeline_workers.runtime.node_worker import NodeWorker
    from timeline_workers.wire.edge_messages import sender_of
    from workflows.durable import carry
    from workflows.durable.inbox import PAYLOADS, Entry, Kind, pack, unpack
    from workflows.durable.run_signals import RunSignals
    from workflows.messages import CarriedState, HoldInput, ProcessorInput, ProcessorResult, SubscribeInput

    from .outgoing_edges import Edges
    from .queries import Questions
    from .state_bounds import StateBounds

METRIC_ATTRIBUTE = SearchAttributeKey.for_keyword_list("TimelineMetric")
_PATIENCE = timedelta(seconds=20)
_TICK = timedelta(milliseconds=1)
# How soon, and how seldom at last, a paused worker looks whether it may go on.
FIRST_LOOK = timedelta(seconds=5)
LAST_LOOK = timedelta(minutes=5)


class _Processor(Questions, RunSignals[ProcessorInput]):
    """What both kinds of worker share."""

    def __init__(self, input: ProcessorInput, carried: bytes) -> None:
        super().__init__(input)
        self._edge_epochs = dict(input.edge_epochs)
        self._stopping = ""
        self._fed = 0
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
    def hold(self, hold: HoldInput) -> None:
        """Send a subscriber nothing for now, but remember what there is to say, or go on."""
        self._inbox.put("hold", hold.model_dump_json().encode())

    @workflow.signal
    def attach(self, metric: str) -> None:
        """Note that a metric needs this worker."""
        self._inbox.put("attach", metric.encode())

    @workflow.signal
    def detach(self, metric: str) -> None:
        """Note that a metric does not need this worker any more."""
        self._inbox.put("detach", metric.encode())

    # The run.

    async def _serve(self) -> ProcessorResult:
        if self._node is None:
            await self._fetch_state()
        if self._is_paused() or self._inputs.held:
            self._inputs.hold(self._is_paused())
        look = FIRST_LOOK
        while True:
            await self._drain()
            if self._stopping:
                return await self._leave()
            assert self._edges is not None
            self._edges.wake()
            self._inputs.open()
            if self._should_continue() or carry.has_had_enough_signals(self._applied):
                await self._continue()
            if self._is_paused():
                await self._wait_while_paused(look)
                look = min(2 * look, LAST_LOOK)
            else:
                await workflow.wait_condition(lambda: len(self._inbox) > 0 or self._is_to_end())
            if (failure := self._broken()) is not None:
                # A defect, not a state of the world: the workflow task fails, and is tried again.
                raise failure

    def _is_paused(self) -> bool:
        return self._state_bounds is not None and self._state_bounds.paused is not None

    def _is_to_end(self) -> bool:
        return self._should_continue() or self._broken() is not None

    async def _wait_while_paused(self, look: timedelta) -> None:
        assert self._state_bounds is not None
        try:
            await workflow.wait_condition(
                lambda: self._inbox.commands() > 0 or self._is_to_end(), timeout=look
            )
        except TimeoutError:
            if await self._state_bounds.may_go_on():
                if self._state_bounds.paused is None:
                    self._inputs.hold(False)
                else:
                    self.continue_as_new()

    def _open_node(self, entries: list[Entry]) -> None:
        state = [body for kind, body in entries if kind == "state"]
        life = f"{workflow.info().first_execution_run_id}/"
        self._node = NodeWorker.restore(self._spec, state, life) if state else NodeWorker(self._spec, life)
        self._edges = Edges(self._node, self._input.message_bytes, self._input.gone, self._input.held)
        self._state_bounds = StateBounds(self._input, self._node)
        for kind, body in entries:
            if kind != "state":
                self._inbox.put(kind, body)

    async def _fetch_state(self) -> None:
        assert self._input.carried is not None
        try:
            entries = await carry.fetch(self._input.carried)
        except carry.StateGoneError as error:
            if self._spec.node.is_leaf:
                raise  # it fails; the feeder starts it afresh, and feeds it its past
            await self._rebuild(error.message)
            return
        arrived = self._inbox.take_all()
        self._open_node(entries + self._tail)
        self._tail = []
        for kind, body in arrived:
            self._inbox.put(kind, body)

    async def _rebuild(self, why: str) -> None:
        """Begin without a state: inputs tell all that they have under a new epoch, and subscribers open their
        edges from here anew.
        """
        workflow.logger.error("state lost; rebuilding it from the inputs: %s", why)
        self._lost_state = why
        self._input = self._input.model_copy(update={"carried": None})
        subscribers, self._edge_epochs = list(self._edge_epochs), {}
        for worker in self._inputs.workers:
            self._inputs.reopen(worker)
        arrived = self._inbox.take_all()
        self._open_node(self._tail)
        self._tail = []
        for kind, body in arrived:
            self._inbox.put(kind, body)
        for subscriber in subscribers:
            await self._inputs.have_reopened(subscriber)

    async def _drain(self) -> None:
        assert self._state_bounds is not None
        waiting = len(self._inbox)
        if self._is_paused() or not await self._state_bounds.call_back(self._inbox.payloads()):
            taken = self._inbox.take_commands()
        else:
            taken = self._inbox.take(waiting)
        for kind, body in taken:
            if self._stopping:
                continue
            try:
                self._apply(kind, body)
            except StateError as error:
                # One unreadable payload must not wedge the worker; it is shown instead.
                self._refused += 1
                self._last_refusal = f"{kind} of {len(body)} bytes: {error}"
                workflow.logger.error("payload refused: %s", self._last_refusal)
                sender, opening = (kind == "receive" and self._inputs.start_over(body)) or ("", 0)
                self._unmended[sender] = opening
        if taken:
            # Once for all messages: after a pause there are many, and a workflow task has little time.
            assert self._node is not None
            self._node.settle()

    def _apply(self, kind: Kind, body: bytes) -> None:
        assert self._node is not None
        assert self._edges is not None
        if kind in PAYLOADS:
            self._fed += len(body)
        if kind == "ingest":
            self._applied += 1
            self._node.ingest(body)
            self._unmended.clear()
        elif kind == "receive":
            self._applied += 1
            self._node.receive(body, settle=False)
            if self._unmended:
                self._look_what_is_mended(body)
        elif kind == "subscribe":
            subscription = SubscribeInput.model_validate_json(body)
            if self._edge_epochs.get(subscription.subscriber) == subscription.epoch:
                return
            self._edge_epochs[subscription.subscriber] = subscription.epoch
            self._edges.opened(subscription.subscriber)
            self._node.subscribe(subscription.subscriber, subscription.epoch, subscription.output)
        elif kind == "unsubscribe":
            self._edge_epochs.pop(body.decode(), None)
            self._edges.closed(body.decode())
            self._node.unsubscribe(body.decode())
        elif kind == "resubscribe":
            self._inputs.reopen(body.decode())
        elif kind == "hold":
            hold = HoldInput.model_validate_json(body)
            self._edges.hold(hold.subscriber, hold.held)
        elif kind == "attach":
            self._set_metrics([*self._metrics, body.decode()])
        elif kind == "detach":
            self._set_metrics([name for name in self._metrics if name != body.decode()])
        elif kind == "stop":
            self._stopping = body.decode() or "stopped"

    def _look_what_is_mended(self, taken: bytes) -> None:
        """A message of the opening that was to make up for what was refused shows that nothing is missing:
        else there would be a gap before it.
        """
        assert self._node is not None
        sender = sender_of(taken) or ""
        edges = self._node.inbound.get(sender, [])
        opening = self._unmended.get(sender)
        if opening is not None and edges and self._inputs.opening_of(edges[0].epoch) >= opening:
            del self._unmended[sender]
        self._unmended.pop("", None)  # what nobody is known to have sent

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

    async def _leave(self) -> ProcessorResult:
        assert self._edges is not None
        await self._edges.settle(timedelta(seconds=1))
        await self._inputs.close()
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
        fed = None if self._input.state_bytes is None else self._fed
        return info.is_continue_as_new_suggested() and carry.has_worked_enough(self._input.carried, fed)

    async def _continue(self) -> None:
        assert self._edges is not None
        assert self._state_bounds is not None
        await self._edges.settle(_PATIENCE)
        await self._inputs.stop_subscribing()
        await workflow.wait_condition(workflow.all_handlers_finished)
        await self._drain()
        if self._stopping:
            return
        entries: list[Entry] = [
            ("state", part) for part in await self._state_bounds.enforce(self._edges.gone)
        ]
        size = sum(len(body) for _, body in entries)
        if self._input.state_bytes is not None:  # else the run was begun by release 0.1.0, which did not
            # The result of a local activity may stand in the history with an earlier workflow task than the
            # one that went on with it. Where that one has to be done again, because a signal came as it
            # ended the run, the new attempt gets to here in the earlier task: the run would end without what
            # came since. A timer is in the history where it fired, so that nothing after it is done early.
            await workflow.sleep(_TICK)
        carried = None
        while size + self._inbox.size > carry.INLINE_STATE_BYTES:
            # Whatever arrives while this is written goes after it, in the order it came.
            carried = await carry.keep([*entries, *self._inbox.take_all()], carried)
            entries, size = [], 0
        workflow.continue_as_new(
            args=[self._next_input(carried), pack([*entries, *self._inbox.take_all()])],
            # Where worker processes are versioned, the next run begins on the current build.
            initial_versioning_behavior=workflow.ContinueAsNewVersioningBehavior.AUTO_UPGRADE,
        )

    def _next_input(self, carried: CarriedState | None) -> ProcessorInput:
        assert self._edges is not None
        assert self._state_bounds is not None
        return self._input.model_copy(
            update={
                "metrics": tuple(self._metrics),
                "epochs": self._inputs.epochs,
                "subscribed": tuple(sorted(self._inputs.subscribed)),
                "edge_epochs": self._edge_epochs,
                "gone": self._edges.gone,
                "held": tuple(sorted(self._edges.held)),
                "holds": self._inputs.held,
                "runs": self._input.runs + 1,
                "refused": self._refused,
                "last_refusal": self._last_refusal,
                "unmended": self._unmended,
                "lost_state": self._lost_state,
                "carried": carried,
                "state_bytes": self._state_bounds.state_bytes,
                "departed": self._state_bounds.departed,
                "paused": self._state_bounds.paused,
                # The drill by signal is for one run; a number of payloads holds for every run.
                "continue_as_new_after": self._input.continue_as_new_after or None,
            }
        )


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
        """Take a batch of events of the feeder (``timeline_workers.wire.leaf_batch``)."""
        self._last_ingest = workflow.time_ns() // 1000
        self._inbox.put("ingest", payload)

    @workflow.signal
    def complete(self) -> None:
        """Note that the feeder has sent everything that the topic held before what it sends from now on."""
        self._input = self._input.model_copy(update={"incomplete": False})


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
