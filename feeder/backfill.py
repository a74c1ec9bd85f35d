"""Replays of the past beside the live feeding (``replay``): who gets one, and how it joins the live feeding.

While any replay is under way nothing of the topic is acknowledged: what it misses must stay in the broker.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

import structlog

from .fed_group import FedGroup, lacking, place
from .history import History
from .intake import Begin
from .leaves import Leaves, workers_of
from .messages import Stored, shown
from .progress import SILENT, Offset, Reached
from .refusals import Refusals
from .replay import Replay
from .report import Counts
from .route import Group, Routed, Router

log = structlog.get_logger("feeder")


class Backfill:
    """Begins the replays of one topic and joins them. ``seen``: how far each partition was received, which
    grows; ``at_once``: messages per batch.
    """

    def __init__(
        self,
        history: History,
        leaves: Leaves,
        refusals: Refusals,
        counts: Counts,
        seen: Mapping[int, Offset],
        *,
        at_once: int,
        begin: Begin | None,
    ) -> None:
        self._history, self._leaves, self._refusals, self._counts = history, leaves, refusals, counts
        self._seen, self._at_once, self._begin = seen, at_once, begin

    async def all_of(self, fed: FedGroup) -> None:
        """Begin a replay for the whole group, from where its clock stands. It is not fed live meanwhile."""
        after = {p: place(fed.reached.get(p)) for p in range(fed.partitions)}
        await self._begin_replay(fed, fed.group, fed.router, after, lambda: dict(self._seen), whole=True)

    async def those_behind(self, fed: FedGroup, progress: Mapping[str, Mapping[int, Reached]]) -> None:
        """Begin a replay for leaves that have not had what the others have had."""
        router, live = fed.router, fed.live
        behind = lacking(fed, progress)
        for partition in router.clock.reached:
            fed.level[partition] = frozenset(fed.group.leaves)
        if not behind or len(behind) == len(live.leaves):
            return
        own, apart = _apart(live, behind, progress, fed.partitions)
        after = {p: place(apart.clock.reached.get(p)) for p in range(fed.partitions)}

        def limits() -> dict[int, Offset]:
            return {p: router.clock.reached.get(p, SILENT).offset for p in range(fed.partitions)}

        await self._begin_replay(fed, own, apart, after, limits, whole=False)

    async def _begin_replay(
        self,
        fed: FedGroup,
        group: Group,
        router: Router,
        after: Mapping[int, Offset | None],
        limits: Callable[[], Mapping[int, Offset]],
        *,
        whole: bool,
    ) -> None:
        past = await self._history.read_from(after)
        letters = None
        if not whole and group.source.idle_timeout is not None:
            letters = await self._history.late_letters(group.metrics)

        async def take(own: Group, routed: Routed, batch: Sequence[Stored]) -> None:
            if whole:
                await self._refusals.publish(
                    batch, {r.row: (r.reason, r.message, own.metrics) for r in routed.refused}
                )
                self._counts.events += routed.accepted
            await self._leaves.deliver(own, routed)

        fed.replays.append(
            Replay(
                group,
                router,
                past,
                whole=whole,
                limits=limits,
                take=take,
                run=self._history.run,
                at_once=self._at_once,
                begin=self._begin,
                letters=letters,
            )
        )
        log.info(
            "reading the past",
            topic=group.source.topic,
            metrics=group.metrics,
            leaves=None if whole else sorted(group.leaves),
            after={p: "the beginning" if at is None else shown(at) for p, at in after.items()},
        )

    async def join(self, fed: FedGroup) -> None:
        """Go on live with the leaves whose replay has come to where the live feeding is, which must wait."""
        for replay in [*fed.replays]:
            if not replay.near:
                continue
            await replay.finish()
            fed.replays.remove(replay)
            self._counts.replayed += replay.messages
            clock = fed.router.clock
            if replay.whole:
                for partition, reached in clock.reached.items():
                    fed.skip[partition] = reached.offset
                    fed.level.pop(partition, None)
                self._leaves.owe(fed.live)
            else:
                async with asyncio.TaskGroup() as tasks:
                    for worker, label in workers_of(replay.group):
                        told = clock.progress()
                        tasks.create_task(self._leaves.tell(replay.group, worker, label, told))
            log.info(
                "the past is read",
                topic=fed.group.source.topic,
                metrics=fed.group.metrics,
                leaves=None if replay.whole else sorted(replay.group.leaves),
                messages=replay.messages,
            )

    async def stop(self, fed: FedGroup) -> None:
        """Stop the replays of a group, which lacks what they had not come to."""
        for replay in fed.replays:
            await replay.close()


def _apart(
    live: Group, names: Collection[str], progress: Mapping[str, Mapping[int, Reached]], partitions: int
) -> tuple[Group, Router]:
    """The leaves of ``names`` as a group of their own, with a router that stands where they do."""
    own = replace(live, leaves={n: leaf for n, leaf in live.leaves.items() if n in names})
    router = Router(own, partitions)
    everyone = [progress.get(worker, {}) for worker, _ in workers_of(own)]
    for partition in range(partitions):
        least = min((has.get(partition, SILENT) for has in everyone), key=lambda r: r.offset)
        if least.offset != SILENT.offset:
            router.clock.start(partition, least)
    return own, router
