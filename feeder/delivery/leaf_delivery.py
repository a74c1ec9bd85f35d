"""Delivering parcels to leaf workers: in order for each, concurrently over all, until Temporal has accepted
them.

A leaf that lags is not flooded: at most ``OUTSTANDING`` parcels may be accepted but not yet applied, which
the leaf's ``status`` tells. (Temporal fails a workflow task while which more than 100 signals have
gathered.) A leaf worker that is missing is started, with the workers of its metric above it.

A leaf that was ended and started again, by whomever, lacks its past, and what is sent to it as to the one
before would hide that. So parcels go to the run that is known and to its successors, to no other: where the
leaf is another one, ``LeafLostError`` has the topic taken up anew.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import structlog

from feeder.positions import Offset, Reached, read_progress
from feeder.routing.router import COMMIT_LABEL, Leaf, MetricGroup, Parcel, Routed, progress_parcel
from timeline_workers.algebra.leaf_input import Progress
from timeline_workers.errors import TimelineError
from timeline_workers.plan.physical import KEY_LABEL, WorkerSpec, worker_id, workers
from workflows.client.running import NotRunningError, Run
from workflows.worker_status import WorkerStatus

from .leaf_workers import LeafWorkers
from .retry import NotYet, persist

log = structlog.get_logger("feeder")

OUTSTANDING = 8
CONCURRENT_SIGNALS = 32
# An idle leaf's progress is sent with its next events, when the topic is quiet, or at the latest after so
# many batches.
OWED_BATCHES = 16


class LeafLostError(TimelineError):
    """A leaf worker that had been fed was ended, and is there anew: it needs the past again."""


class NotApplied(NotYet):
    """A leaf has not yet applied what it was sent, or is still fetching its state: ask again."""


@dataclass(slots=True)
class _Line:
    """What is under way to one leaf worker: per parcel, the offsets its progress will show once it is
    applied.
    """

    sent: deque[dict[int, Offset]] = field(default_factory=deque)

    def applied(self, reached: Mapping[int, Reached]) -> None:
        while self.sent and all(p in reached and reached[p].offset >= at for p, at in self.sent[0].items()):
            self.sent.popleft()


class Leaves:
    """All leaf workers, as one feeder process knows them. ``signals``, ``bytes``: sent so far;
    ``incomplete``: the workers that said, when last asked, that they may lack the topic's past.

    ``needed``: whether some registered metric needs a leaf node, by name, as of now; ``readers``: the workers
    of a partition, of all registered metrics.
    """

    def __init__(
        self,
        workers: LeafWorkers,
        needed: Callable[[str], Awaitable[bool]],
        readers: Callable[[str], Awaitable[Sequence[WorkerSpec]]],
    ) -> None:
        self._workers = workers
        self._needed, self._readers = needed, readers
        self._lines: dict[str, _Line] = {}
        self._slots = asyncio.Semaphore(CONCURRENT_SIGNALS)
        self._starting: dict[str, asyncio.Lock] = {}
        self._owed: dict[str, int] = {}
        self._runs: dict[str, Run] = {}
        self.incomplete: set[str] = set()
        self.signals = 0
        self.bytes = 0

    async def deliver(self, group: MetricGroup, routed: Routed, *, apart: bool = False) -> None:
        """Return when Temporal has accepted every parcel, the commit leaf's last.

        ``apart``: these are single leaves that catch up beside others, whose commit leaf says nothing of
        them; then the first worker of each hears after the others of it. Cancelled halfway, it leaves some
        ahead; delivering the same again is harmless.
        """
        committed, commit_label = group.commit_leaf()
        firsts = {worker_id(name, commit_label) for name in group.leaves} if apart else {committed}
        for of_firsts in (False, True):
            async with asyncio.TaskGroup() as tasks:
                for worker, parcels in routed.parcels.items():
                    if worker != committed and (worker in firsts) is of_firsts:
                        tasks.create_task(self._send_all(group, worker, routed.labels[worker], parcels))
        last = routed.parcels.get(committed)
        if last is None:
            last = [progress_parcel(_leaf_of(group, committed), routed.progress)]
        await self._send_all(group, committed, commit_label, last)
        self._note_owed(group, {*routed.parcels, committed})

    async def settle(self, group: MetricGroup, progress: Sequence[Progress]) -> None:
        """Tell the leaves that have heard nothing of late how far the source has come."""
        async with asyncio.TaskGroup() as tasks:
            for worker, label in workers_of(group):
                if self._owed.get(worker, 0) > 0:
                    parcel = progress_parcel(_leaf_of(group, worker), progress)
                    tasks.create_task(self._send_all(group, worker, label, [parcel]))
                    self._owed[worker] = 0

    def due(self, group: MetricGroup) -> bool:
        """Whether some leaf of ``group`` has been owed its progress for long enough."""
        return any(self._owed.get(worker, 0) >= OWED_BATCHES for worker, _ in workers_of(group))

    def owes(self, group: MetricGroup) -> bool:
        """Whether some leaf of ``group`` has not been told how far the source has come."""
        return any(self._owed.get(worker, 0) for worker, _ in workers_of(group))

    async def tell(self, group: MetricGroup, worker: str, label: str, progress: Sequence[Progress]) -> None:
        """Return when Temporal has accepted for ``worker`` how far the source has come."""
        await self._send_all(group, worker, label, [progress_parcel(_leaf_of(group, worker), progress)])

    async def progress(self, group: MetricGroup) -> Mapping[str, Mapping[int, Reached]]:
        """Ask the leaf workers of ``group`` (of a per-key group, its commit leaf) how far they are, with
        everything that they have been sent.
        """
        names = [worker for worker, _ in workers_of(group)]
        answers = await asyncio.gather(*(self.asked(name) for name in names))
        return dict(zip(names, answers, strict=True))

    async def heard(self, group: MetricGroup) -> Mapping[str, Mapping[int, Reached]]:
        """Ask them how far they are now, whatever they have been sent."""
        names = [worker for worker, _ in workers_of(group)]
        answers = await asyncio.gather(*(self._ask(name) for name in names))
        return dict(zip(names, answers, strict=True))

    async def asked(self, worker: str) -> dict[int, Reached]:
        """How far ``worker`` is once it has applied what it was sent; nothing when it does not exist."""
        return await self._ask(worker, settled=True)

    def owe(self, group: MetricGroup) -> None:
        """Have every leaf told how far the source has come when next it is told so."""
        self._note_owed(group, ())

    def _note_owed(self, group: MetricGroup, told: Iterable[str]) -> None:
        heard = set(told)
        for worker, _ in workers_of(group):
            self._owed[worker] = 0 if worker in heard else self._owed.get(worker, 0) + 1

    async def complete(self, group: MetricGroup) -> None:
        """Let the leaf workers of ``group`` that may have lacked the topic's past know that they have it, and
        that nothing lies between that and what they are sent from now on.
        """
        async with asyncio.TaskGroup() as tasks:
            for worker, label in workers_of(group):
                if worker in self.incomplete:
                    say = partial(self._say_complete, group, worker, label)
                    tasks.create_task(persist(f"signalling worker {worker}", say))

    async def _say_complete(self, group: MetricGroup, worker: str, label: str) -> None:
        while True:
            run = self._runs.get(worker)
            if run is not None and await self._signal(worker, run, "complete"):
                self.incomplete.discard(worker)
                return
            if await self._look_up(worker) is None:
                if not await self._needed(worker.rpartition(".")[0]):
                    return
                await self._start(group, worker, label)

    async def _send_all(self, group: MetricGroup, worker: str, label: str, parcels: Sequence[Parcel]) -> None:
        line = self._lines.setdefault(worker, _Line())
        for parcel in parcels:
            if len(line.sent) >= OUTSTANDING:
                await persist(
                    f"waiting for worker {worker} to apply its batches",
                    lambda: self._drained(worker, line),
                )
            await persist(f"signalling worker {worker}", lambda p=parcel: self._send(group, worker, label, p))  # type: ignore[misc]
            line.sent.append({p.partition: Offset(p.major, p.minor) for p in parcel.progress})
            self.signals += 1
            self.bytes += len(parcel.payload)

    async def _send(self, group: MetricGroup, worker: str, label: str, parcel: Parcel) -> None:
        if not group.labels:
            await self._send_to_key(group, worker, label, parcel)
            return
        while True:
            run = self._runs.get(worker) or await self._look_up(worker)
            if run is not None and await self._signal(worker, run, "ingest", parcel.payload):
                return
            # Its run has ended: it goes on in another one, or was ended. (That of a metric which was deleted
            # a moment ago must not come back.)
            if await self._look_up(worker) is None:
                if not await self._needed(worker.rpartition(".")[0]):
                    return
                await self._start(group, worker, label)

    async def _send_to_key(self, group: MetricGroup, worker: str, label: str, parcel: Parcel) -> None:
        """Trees of keys begin with an event of theirs; one that was ended begins with the next."""
        if await self._signal(worker, None, "ingest", parcel.payload) or not await self._needed(
            worker.rpartition(".")[0]
        ):
            return
        await self._start(group, worker, label)
        if not await self._signal(worker, None, "ingest", parcel.payload):
            raise NotApplied(f"{worker} ended as soon as it was started")

    async def _signal(self, worker: str, run: Run | None, signal: str, *args: object) -> bool:
        """Signal ``worker``; False when that run (None: any) does not go on."""
        async with self._slots:
            return await self._workers.signal(worker, None if run is None else run.run_id, signal, *args)

    async def _look_up(self, worker: str) -> Run | None:
        """The present run of ``worker``, from now on known; None when it does not run.

        Raises LeafLostError when it is another one than was known: then that is known from now on.
        """
        run = await self._workers.run_of(worker)
        if run is None:
            return None
        before = self._runs.get(worker)
        self._runs[worker] = run
        if before is not None and before.first != run.first:
            self._lines.pop(worker, None)
            raise LeafLostError(f"leaf {worker} was restarted without its history")
        return run

    async def _start(self, group: MetricGroup, worker: str, label: str) -> None:
        leaf = _leaf_of(group, worker)
        specs = workers(leaf.plan, label)
        if worker not in {spec.worker_id for spec in specs}:
            raise AssertionError(f"the plan of {leaf.plan.metric.name} has no worker {worker}")
        if label not in group.labels and worker == group.commit_leaf()[0]:
            specs = [spec for spec in specs if spec.worker_id == worker]  # it has no timeline of its own
        async with self._starting.setdefault(label, asyncio.Lock()):
            others = await self._readers(label)
            metrics = [leaf.plan.metric.name]
            started = await self._workers.start(specs, metrics, others)
        if started:
            self._lines.pop(worker, None)
            if group.labels:
                log.warning("missing workers started", workers=list(started))

    async def _drained(self, worker: str, line: _Line) -> None:
        reached = await self._ask(worker)
        if not reached and await self._workers.run_of(worker) is None:
            line.sent.clear()  # nobody applies them; what is sent next has the worker started
        if _has_past(worker) and self._lines.get(worker) is not line:
            # Whoever else sends to it has found that out; this feeder would wait for what it lacks.
            raise LeafLostError(f"leaf {worker} was restarted without its history")
        line.applied(reached)
        if len(line.sent) >= OUTSTANDING:
            raise NotApplied(f"{len(line.sent)} batches are accepted but not yet applied")

    async def _ask(self, worker: str, settled: bool = False) -> dict[int, Reached]:
        """How far ``worker`` is; nothing when it does not exist. ``settled``: not before it has applied what
        it was sent.
        """

        async def ask() -> dict[int, Reached]:
            run = None
            if _has_past(worker):
                run = self._runs.get(worker) or await self._look_up(worker)
                if run is None:
                    self.incomplete.add(worker)
                    return {}
            try:
                status = await self._workers.status(worker, None if run is None else run.run_id)
            except NotRunningError as error:
                if run is None:
                    return {}
                if await self._look_up(worker) is None:
                    self.incomplete.add(worker)
                    return {}
                raise NotApplied(f"{worker} continued as new") from error
            if status.state is None:
                raise NotApplied("it is fetching its state")
            if status.incomplete:
                self.incomplete.add(worker)
            else:
                self.incomplete.discard(worker)
            if settled and status.inbox:
                raise NotApplied(f"{status.inbox} batches are accepted but not yet applied{_why(status)}")
            return read_progress(status)

        return await persist(f"querying the position of worker {worker}", ask)


def _has_past(worker: str) -> bool:
    """Whether the past is read for a worker that was ended: not for the trees of keys of a per-key source."""
    label = worker.rpartition(".")[2]
    return label != COMMIT_LABEL and not label.startswith(KEY_LABEL)


def _why(status: WorkerStatus) -> str:
    return f": it is paused: {status.paused}" if status.paused else ""


def workers_of(group: MetricGroup) -> list[tuple[str, str]]:
    """(worker id, label) of all leaf workers of ``group``; of a per-key group, the commit leaf only."""
    labels = group.labels
    if not labels:
        return [group.commit_leaf()]
    return [(worker_id(name, label), label) for name in group.leaves for label in labels]


def _leaf_of(group: MetricGroup, worker: str) -> Leaf:
    return group.leaves[worker.rpartition(".")[0]]
