"""The feed of one metric group: its position, which of its leaves are fed live, and which are backfilled.

What is here belongs to one group. That a partition's messages are skipped up to a place means that its leaves
have had them; that leaves are *level* in a partition, that they are known to have there what the others have.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

import structlog

from feeder.loop_clock import now
from feeder.message_batch import shown
from feeder.positions import SILENT, Offset, Reached, resume
from feeder.recovery.replay import Replay
from feeder.routing.router import MetricGroup, Router
from timeline_workers.plan.physical import worker_id

from .leaf_delivery import Leaves, workers_of

log = structlog.get_logger("feeder")

# For so long messages of a partition that another feeder may have are left to it, before it is looked whether
# the leaves have moved.
UNFED_SECONDS = 2.0


@dataclass
class Waiting:
    """Leaves that lack the past, while another feeder reads it. ``whole``: they are all that there are."""

    leaves: frozenset[str]
    whole: bool
    heard: object = None
    """What the leaves had heard when it was last looked whether anybody feeds them, at ``looked``."""
    looked: float = field(default_factory=now)


@dataclass
class Undelivered:
    """Partitions that hold messages which the leaves have not had and this feeder was not given, with where
    the leaves were; ``again``: the monotonic time to look once more.
    """

    places: Mapping[int, Offset | None]
    again: float = field(default_factory=lambda: now() + UNFED_SECONDS)


@dataclass
class MetricGroupFeed:
    """``group``, as the catalog has it now, of a topic with so many ``partitions``."""

    group: MetricGroup
    partitions: int
    skip: dict[int, Offset] = field(default_factory=dict)
    """A partition's messages up to here need nothing more."""
    level: dict[int, frozenset[str]] = field(default_factory=dict)
    """Of each partition, the leaves that are known to have what the others have."""
    replays: list[Replay] = field(default_factory=list)
    waiting: Waiting | None = None
    undelivered: Undelivered | None = None
    gone: frozenset[int] = frozenset()
    """Partitions that the leaves know and the topic has no more."""
    woken: bool = False
    """Whether partitions that bring nothing have been looked at."""
    admitted: bool = False
    """Whether partitions that the leaves may not know have been looked for."""
    complete_at: Mapping[int, Offset] | None = None
    """Where the leaves lack nothing any more and are to hear so; None: they have heard, or lack the past."""
    _router: Router | None = None
    _live: MetricGroup | None = None
    _held: Mapping[int, Offset] | None = None

    def take(self, group: MetricGroup) -> None:
        """Go on with what the catalog says now, of the same signature."""
        if group is not self.group:
            self.group, self._live = group, None

    @property
    def whole(self) -> bool:
        """Whether all that there is lacks the past: nothing is fed live."""
        return any(r.whole for r in self.replays) or (self.waiting is not None and self.waiting.whole)

    @property
    def lacks_past(self) -> bool:
        """Whether some leaf is not fed live or may lack something: the broker must keep what it has."""
        return bool(self.replays) or self.waiting is not None or self.undelivered is not None

    @property
    def taken_up(self) -> bool:
        """Whether of every partition it is known where the leaves are."""
        return self.undelivered is None and len(self.skip) >= self.partitions

    @property
    def live(self) -> MetricGroup:
        """The group with those leaves only that are fed live."""
        apart = {name for r in self.replays if not r.whole for name in r.group.leaves}
        if self.waiting is not None and not self.waiting.whole:
            apart |= self.waiting.leaves
        if not apart:
            return self.group
        names = self.group.leaves.keys() - apart
        if self._live is None or self._live.leaves.keys() != names:
            kept = {n: leaf for n, leaf in self.group.leaves.items() if n in names}
            self._live = replace(self.group, leaves=kept)
        return self._live

    @property
    def router(self) -> Router:
        """The router of the leaves that are fed live, which keeps the watermarks."""
        live = self.live
        if self._router is None:
            self._router = Router(live, self.partitions)
        elif self._router.group is not live and not any(r.whole for r in self.replays):
            self._router.update(live)
        return self._router

    @property
    def reached(self) -> Mapping[int, Reached]:
        """How far each partition has come."""
        return self.router.clock.reached

    @property
    def delivered(self) -> Mapping[int, Offset]:
        """How far the live leaves have been sent each partition, with the dead letters before that stored."""
        return {p: at.offset for p, at in self.reached.items()} if self._held is None else self._held

    def begin_delivery(self) -> None:
        """Note that messages are routed from now on that are not delivered yet."""
        self._held = self.delivered

    def end_delivery(self) -> None:
        """Note that everything is delivered that was routed."""
        self._held = None

    @property
    def unchecked(self) -> bool:
        """Whether some leaf may lack what the others have had."""
        levels = (self.level.get(p, frozenset()) for p in self.reached)
        return not all(level.issuperset(self.group.leaves) for level in levels)

    def look_again(self) -> None:
        """A metric was applied or removed, so that a leaf may be a new one: know no more who has what."""
        self.level.clear()
        if self._router is not None:
            self._router.forget_sent()

    def forget(self) -> None:
        """Know nothing any more of the leaves: they have been started anew."""
        self._router = self._held = self.complete_at = None
        self.woken = self.admitted = False
        self.undelivered = None
        self.skip.clear()
        self.level.clear()

    def know(self, known: Mapping[int, Reached]) -> None:
        """Take how far the leaves are, of all partitions that they know."""
        self.gone = frozenset(p for p in known if p >= self.partitions)

    def start(self, partition: int, found: Reached | None) -> None:
        """Go on in ``partition`` where the leaves are, which may not be where this feeder left them."""
        self.router.forget_sent()
        self.router.clock.start(partition, found)
        self.skip[partition] = SILENT.offset if found is None else found.offset
        if place(found) is not None and found is not None:
            log.info(
                "resuming from the leaves' positions",
                topic=self.group.source.topic,
                partition=partition,
                position=shown(found.offset),
            )

    def started_anew(self, progress: Mapping[str, Mapping[int, Reached]]) -> bool:
        """Whether the leaves, which were fed before, know of nothing any more."""
        return bool(self.reached and not any(progress.values()) and self.live.labels)

    async def tell(self, leaves: Leaves) -> None:
        """Tell the leaves that have heard nothing of late how far the source has come."""
        # A leaf that is new must be given the past before it is told how far the source is; and of a
        # partition that is new, it must be told at once that final answers stay so.
        known = self.admitted and self.undelivered is None and not self.unchecked
        if self._router is not None and known and not self.whole:
            await leaves.settle(self.live, self.router.clock.progress())


def place(reached: Reached | None) -> Offset | None:
    """Where to read on after ``reached``; None: from the beginning."""
    return None if reached is None or reached.offset == SILENT.offset else reached.offset


def stand(
    group: MetricGroup, progress: Mapping[str, Mapping[int, Reached]], incomplete: Collection[str] = ()
) -> dict[int, Reached]:
    """How far ``group`` is to be taken to be, by what its workers say (see ``resume``). Leaves that have had
    nothing of a partition are new, and do not count: they get the past by themselves.

    So do those of which some workers are ``incomplete``, having been ended and started again, as long as
    there is a leaf without such. Else nobody knows but who is furthest behind. (Where all are, the group is a
    new one, which goes through the past as a whole.)
    """
    everyone = [worker for worker, _ in workers_of(group)]
    mended = _names(incomplete) if any(worker not in incomplete for worker in everyone) else set()
    apart = mended if not mended.issuperset(_names(everyone)) else set()
    first = group.commit_leaf()[0]
    committed = {} if first.rpartition(".")[0] in mended else progress.get(first, {})
    leaves: dict[str, list[Mapping[int, Reached]]] = {}
    for worker in everyone:
        if (name := worker.rpartition(".")[0]) not in apart:
            leaves.setdefault(name, []).append(progress.get(worker, {}))
    found: dict[int, Reached] = {}
    for partition in sorted({p for reached in progress.values() for p in reached}):
        told = ([each.get(partition, SILENT) for each in leaf] for leaf in leaves.values())
        fed = [at for leaf in told if any(r.offset != SILENT.offset for r in leaf) for at in leaf]
        reached = resume(committed.get(partition), fed)
        if reached is not None:
            found[partition] = reached
    return found


def _names(workers: Iterable[str]) -> set[str]:
    return {worker.rpartition(".")[0] for worker in workers}


def added(
    progress: Mapping[str, Mapping[int, Reached]], committed: Mapping[int, Reached], partitions: int
) -> set[int]:
    """The partitions that have brought nothing, as the commit leaf says, and that some of the leaf workers do
    not know, which know others: they may have been added to the topic since.
    """
    return {
        p
        for p in range(partitions)
        if committed.get(p, SILENT).offset == SILENT.offset
        and any(reached and p not in reached for reached in progress.values())
    }


def final(
    progress: Mapping[str, Mapping[int, Reached]], without: Mapping[str, Collection[int]] | None = None
) -> int | None:
    """The instant below which some leaf worker may have called its answers final; None: none has.

    ``without``: per worker the partitions that it did not know of then.
    """
    finals = []
    for worker, reached in progress.items():
        unknown = () if without is None else without[worker]
        marks = [at.watermark for p, at in reached.items() if p not in unknown]
        known = [mark for mark in marks if mark is not None]
        if known and len(known) == len(marks):
            finals.append(min(known))
    return max(finals, default=None)


def lacking(
    fed: MetricGroupFeed, progress: Mapping[str, Mapping[int, Reached]], incomplete: Collection[str] = ()
) -> set[str]:
    """The live leaves that may not have had everything that the group has been fed.

    Of each leaf its first worker counts, which is sent batches last (``Leaves.deliver``): when it has
    everything, the others are at most owed the telling, but for those that are known to be ``incomplete``.
    Where all leaves have such workers, as when a metric is applied while those of another have not been
    called complete yet, only those of them count that are behind.
    """
    live = fed.live

    def names(lacks: Callable[[str, int, Reached], bool]) -> set[str]:
        return {
            name
            for name in (live.leaves if live.labels else ())
            if any(
                name not in fed.level.get(p, frozenset()) and lacks(name, p, at)
                for p, at in fed.reached.items()
            )
        }

    def is_behind(name: str, partition: int, at: Reached) -> bool:
        first = progress.get(worker_id(name, live.labels[0]), {}).get(partition, SILENT)
        return first.offset < at.offset

    def is_incomplete(name: str, partition: int, at: Reached) -> bool:
        return any(worker_id(name, label) in incomplete for label in live.labels)

    def is_part_behind(name: str, partition: int, at: Reached) -> bool:
        ids = {worker_id(name, label) for label in live.labels} & set(incomplete)
        return any(progress.get(worker, {}).get(partition, SILENT).offset < at.offset for worker in ids)

    behind, mended = names(is_behind), names(is_incomplete)
    return behind | (names(is_part_behind) if len(mended) == len(live.leaves) else mended)
