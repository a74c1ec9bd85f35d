"""One topic: receive a batch, route it, publish its dead letters, deliver it to the leaves, acknowledge it.

Every partition has one feeder at a time and its messages come in order; the acknowledgement is cumulative per
partition. While one batch is delivered the next is received. Nothing is ever negatively acknowledged: that
would break the order. What the leaves of a group need and the broker does not deliver any more is read from
the past (``replay``); meanwhile the others go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from time import monotonic, time
from typing import Any

import numpy as np
import pulsar
import structlog

from timeline_workers.algebra.values import Int64
from timeline_workers.pulsar_client import check_broker

from .catalog import Catalog
from .deadletter import DeadLetters, dead_letter_topic
from .gaps import Gaps
from .idle import Idle
from .intake import Begin, Intake, Reading, Subscribed
from .leaves import Leaves, workers_of
from .messages import letter, offset_of, partitions_of, read, shown
from .past import Past, Stored, knows_partitions
from .progress import ENTRY_STEP, SILENT, Offset, Reached, advancing, gap, resume
from .replay import LateLetters, Replay, first_stored
from .retry import persist
from .route import Group, Messages, Routed, Router

log = structlog.get_logger("feeder")

SUBSCRIPTION = "timeline-feeder"
BATCH_MESSAGES = 20_000
BATCH_WAIT_MS = 20
# While messages flow, acknowledge this often; at once when none come.
ACKNOWLEDGE_SECONDS = 1.0
# A topic that has brought nothing for so long since it was opened is quiet, not slow.
QUIET_SECONDS = 1.0


@dataclass(slots=True)
class Counts:
    """What has become of the messages of a topic since the feeder started."""

    messages: int = 0
    events: int = 0
    late: int = 0
    refused: int = 0
    skipped: int = 0
    replayed: int = 0
    batches: int = 0
    gaps: int = 0
    lag: float = 0.0
    reasons: dict[str, int] = field(default_factory=dict)


class TopicFeeder:
    """Feeds one topic. ``run`` it; ``groups`` may be replaced between two batches by the catalog.

    ``client`` is this feeder's own, and closed with it; ``gaps`` outlives it. ``begin``: where to begin,
    None: where the subscription or the leaves are.
    """

    def __init__(
        self,
        client: pulsar.Client,
        url: str,
        topic: str,
        catalog: Catalog,
        leaves: Leaves,
        gaps: Gaps,
        *,
        subscription: str = SUBSCRIPTION,
        batch_messages: int = BATCH_MESSAGES,
        batch_wait_ms: int = BATCH_WAIT_MS,
        begin: Begin | None = None,
    ) -> None:
        self.topic = topic
        self.counts = Counts()
        self._client, self._url, self._subscription = client, url, subscription
        self._batch, self._wait_ms, self._begin = batch_messages, batch_wait_ms, begin
        self._catalog, self._leaves, self._gaps = catalog, leaves, gaps
        self._routers: dict[str, Router] = {}
        self._letters = DeadLetters(client, url, topic)
        self._seen: dict[int, Offset] = {}
        # Per partition, the last message that every leaf has been sent, until it is acknowledged.
        self._accepted: dict[int, tuple[Offset, pulsar.MessageId]] = {}
        self._acknowledged_at = monotonic()
        # A partition's messages up to here need nothing more from a group.
        self._skip: dict[tuple[str, int], Offset] = {}
        self._replays: list[Replay] = []
        # Of each group and partition, the leaves that are known to have what the others have.
        self._level: dict[tuple[str, int], frozenset[str]] = {}
        self._live_groups: dict[str, tuple[Group, Group]] = {}
        self._idle: dict[str, Idle] = {}
        self._heard: dict[int, float] = {}
        self._caught_up: dict[int, Offset] = {}
        self._woken: set[str] = set()
        self._version = catalog.version
        # Blocking calls to the client library get threads of their own: receiving must not wait for
        # publishing, nor either for the reading of the past.
        self._receiving, self._working, self._reading = (
            ThreadPoolExecutor(1, thread_name_prefix=name) for name in ("receive", "work", "past")
        )
        try:
            self._partitions = max(1, check_broker(client, url, topic))
            self._own_partitions = knows_partitions(client, client.get_topic_partitions(topic))
        except BaseException:
            client.close()
            raise

    async def run(self, stop: asyncio.Event) -> None:
        """Feed until ``stop`` is set; the batch in hand is finished and acknowledged first."""
        try:
            self._intake = await self._open()
        except BaseException:
            await self._run(self._letters.close)
            await self._run(self._client.close)
            raise
        log.info("feeding", topic=self.topic)
        receive = self._receive()
        self._opened = monotonic()
        try:
            while not stop.is_set():
                batch = await receive
                if stop.is_set():
                    break  # not acknowledged: it comes again
                receive = self._receive()
                if batch:
                    # After receiving: a metric applied before these events were published must be known.
                    await persist("reading the catalog", self._catalog.refresh)
                groups = self._catalog.topics.get(self.topic, [])
                if not groups:
                    return
                self._notice(groups)
                await self._join(groups)
                if batch:
                    await self._feed(groups, batch)
                else:
                    await self._rest(groups)
                for group in groups:
                    await self._let_rise(group)
            for group in self._catalog.topics.get(self.topic, []):
                await self._tell(group)
        finally:
            for replay in self._replays:
                await replay.close()
            await asyncio.wait([receive])
            await self._run(self._close)
            for threads in (self._receiving, self._working, self._reading):
                threads.shutdown(wait=False)

    def _notice(self, groups: Sequence[Group]) -> None:
        """Look again at who has what when a metric was applied or removed: a leaf may be a new one."""
        if self._catalog.version == self._version:
            return
        self._version = self._catalog.version
        self._level.clear()
        for gone in self._routers.keys() - {group.signature for group in groups}:
            self._forget(gone)
        for router in self._routers.values():
            router.forget_sent()

    def _forget(self, signature: str) -> None:
        """Know nothing any more of the leaves of a group."""
        self._routers.pop(signature, None)
        self._woken.discard(signature)
        self._idle.pop(signature, None)
        for partition in range(self._partitions):
            self._skip.pop((signature, partition), None)
            self._level.pop((signature, partition), None)

    def _receive(self) -> asyncio.Future[list[Stored]]:
        return asyncio.get_running_loop().run_in_executor(self._receiving, self._intake.receive)

    async def _run(self, call: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._working, call, *arguments)

    async def _read(self, call: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._reading, call, *arguments)

    async def _open(self) -> Intake:
        options: dict[str, int] = {"messages": self._batch, "wait_ms": self._wait_ms}
        if not self._own_partitions:
            after = await self._where_the_leaves_are()
            return await self._run(lambda: Reading(self._client, self._url, self.topic, after, **options))  # type: ignore[no-any-return]
        begin = None if self._gaps.begun else self._begin
        subscribed = await self._run(
            lambda: Subscribed(
                self._client, self._url, self.topic, self._subscription, **options, begin=begin
            )
        )
        self._gaps.begun = True
        return subscribed  # type: ignore[no-any-return]

    async def _where_the_leaves_are(self) -> dict[int, Offset | None]:
        """Per partition the least place after which some group must be fed. Groups that have nothing yet read
        the past beside the others.
        """
        after: dict[int, Offset | None] = dict.fromkeys(range(self._partitions))
        for group in self._catalog.topics.get(self.topic, []):
            for partition, reached in _stand(group, await self._leaves.progress(group)).items():
                held = after[partition]
                after[partition] = reached.offset if held is None else min(held, reached.offset)
        return after

    # Batches.

    async def _feed(self, groups: Sequence[Group], batch: list[Stored]) -> None:
        messages = await self._run(read, batch)
        while True:
            cut = self._cut(messages)
            await self._feed_piece(groups, batch[:cut], messages.take(np.arange(cut)))
            batch, messages = batch[cut:], messages.take(np.arange(cut, len(messages)))
            if not batch:
                break

    def _cut(self, messages: Messages) -> int:
        """How many messages come before the first gap within a partition."""
        position = messages.position
        cut = len(messages)
        for partition in partitions_of(position):
            rows = np.flatnonzero(position.partition == partition)
            new, _ = advancing(position.take(rows), self._seen.get(partition))
            if found := gap(position.take(rows), new):
                place = found[1]
                cut = min(cut, next(int(r) for r in rows if offset_of(position, int(r)) == place))
        return max(cut, 1)

    async def _feed_piece(self, groups: Sequence[Group], batch: list[Stored], messages: Messages) -> None:
        firsts, fresh = self._look(messages)
        refused: dict[int, tuple[str, str, list[str]]] = {}
        deliveries: list[tuple[Group, Routed]] = []
        for group in groups:
            if self._is_whole(group) or not await self._catch_up(group, firsts, fresh):
                continue
            live, router = self._live(group), self._router(group)
            rows = self._unskipped(group, messages)
            self.counts.skipped += len(messages) - len(rows)
            if not len(rows):
                continue
            part = messages if len(rows) == len(messages) else messages.take(rows)
            routed = await self._run(router.route, part)
            deliveries.append((live, routed))
            for r in routed.refused:
                entry = refused.setdefault(int(rows[r.row]), (r.reason, r.message, []))
                entry[2].extend(group.metrics)
            self.counts.events += routed.accepted
        await self._refuse(batch, refused)
        async with asyncio.TaskGroup() as tasks:
            for live, routed in deliveries:
                tasks.create_task(self._leaves.deliver(live, routed))
        self._note_accepted(batch)
        self._gaps.arrived.update(firsts)
        if monotonic() - self._acknowledged_at >= ACKNOWLEDGE_SECONDS:
            await self._run(self._acknowledge)
        for group in groups:
            if not self._is_whole(group) and self._leaves.due(self._live(group)):
                await self._tell(group)
        counts = self.counts
        counts.messages += len(messages)
        counts.batches += 1
        counts.lag = max(0.0, time() - int(messages.published.max()) / 1e6)

    async def _refuse(
        self, batch: Sequence[Stored], refused: Mapping[int, tuple[str, str, list[str]]]
    ) -> None:
        """Return when the broker has stored the dead letters of the refused rows of ``batch``."""
        letters = [letter(batch[row], *refusal) for row, refusal in sorted(refused.items())]
        await persist("publishing dead letters", lambda: self._run(self._letters.publish, letters))
        counts = self.counts
        for one in letters:
            if one.reason not in counts.reasons:
                log.warning(
                    "an event was refused; it and others like it are in the dead-letter topic",
                    reason=one.reason,
                    message=one.message,
                    topic=self.topic,
                    position=f"{one.partition}:{one.position}",
                    dead_letters=dead_letter_topic(self.topic),
                )
            counts.reasons[one.reason] = counts.reasons.get(one.reason, 0) + 1
        counts.late = counts.reasons.get("late", 0)
        counts.refused = sum(counts.reasons.values()) - counts.late

    def _look(self, messages: Messages) -> tuple[dict[int, Offset], set[int]]:
        """The first offset of each partition in the batch, and which do not simply go on from where they
        were.
        """
        firsts: dict[int, Offset] = {}
        fresh: set[int] = set()
        position = messages.position
        for partition in partitions_of(position):
            rows = np.flatnonzero(position.partition == partition)
            first = offset_of(position, int(rows[0]))
            seen = self._seen.get(partition)
            if seen is None or not (seen.leads_to(first) or first <= seen):
                fresh.add(partition)
            firsts[partition] = first
            self._seen[partition] = advancing(position.take(rows), seen)[1]
        return firsts, fresh

    def _unskipped(self, group: Group, messages: Messages) -> Int64:
        """The messages that the leaves of ``group`` have not had; a reconnection brings some again."""
        keep = np.zeros(len(messages), np.bool_)
        router = self._router(group)
        for partition in partitions_of(messages.position):
            rows = np.flatnonzero(messages.position.partition == partition)
            key = (group.signature, partition)
            new, last = advancing(messages.position.take(rows), self._skip.get(key))
            self._skip[key] = last
            wanted = rows[new]
            if self._begin is not None and self._begin.published is not None and not self._intake.shared:
                early = wanted[messages.published[wanted] < self._begin.published]
                if len(early):
                    wanted = wanted[messages.published[wanted] >= self._begin.published]
                    router.clock.pass_over(partition, offset_of(messages.position, int(early[-1])))
                    self._leaves.owe(self._live(group))
            keep[wanted] = True
        return np.flatnonzero(keep)

    # Where to go on.

    async def _catch_up(self, group: Group, firsts: Mapping[int, Offset], fresh: set[int]) -> bool:
        """Take up where the leaves are in partitions that are new here or that another process has fed.

        False: the past comes first, and the group is not fed until it is through.
        """
        router, live = self._router(group), self._live(group)
        starting = {
            p: at
            for p, at in firsts.items()
            if p in fresh or p not in router.clock.reached or self._may_have_risen(group, p)
        }
        now = monotonic()
        self._heard.update(dict.fromkeys(firsts, now))
        if not starting and not self._unchecked(group):
            return True
        progress = await self._leaves.progress(live)
        if router.clock.reached and not any(progress.values()) and live.labels:
            # They have all been started anew.
            self._forget(group.signature)
            router, starting = self._router(group), dict(firsts)
        journal = progress[live.journal()[0]]
        others = [r for worker, r in progress.items() if worker != live.journal()[0]]
        past = False
        for partition, first in starting.items():
            found = resume(journal.get(partition), [o[partition] for o in others if partition in o])
            past |= await self._is_behind(partition, found, first)
            if _place(found) != _place(router.clock.reached.get(partition)):
                self._level.pop((group.signature, partition), None)  # others have fed it
            self._start(group, partition, found)
        if past:
            for partition, reached in _stand(live, progress).items():
                if partition not in router.clock.reached:
                    self._start(group, partition, reached)
            await self._replay_all(group)
            return False
        if group.source.idle_timeout is not None and self._intake.shared:
            await self._claim(group, starting)
        if self._unchecked(group):
            await self._check_leaves(group, progress)
        return True

    def _unchecked(self, group: Group) -> bool:
        reached = self._router(group).clock.reached
        levels = (self._level.get((group.signature, p), frozenset()) for p in reached)
        return not all(level.issuperset(group.leaves) for level in levels)

    def _start(self, group: Group, partition: int, found: Reached | None) -> None:
        self._router(group).clock.start(partition, found)
        if found is not None:
            self._skip[group.signature, partition] = found.offset
        if _place(found) is not None and found is not None:
            log.info(
                "going on where the leaves are",
                topic=self.topic,
                partition=partition,
                position=shown(found.offset),
            )

    async def _is_behind(self, partition: int, found: Reached | None, first: Offset) -> bool:
        """Whether the broker holds messages between what the leaves have and ``first``.

        Raises GapError when it does not say for now.
        """
        after = None if found is None or found.offset == SILENT.offset else found.offset
        # The first of an entry is no proof: the entry before it may have had more messages.
        same_entry = after is not None and first.major == after.major and first.minor % ENTRY_STEP > 0
        if after is not None and (after >= first or (same_entry and after.is_next(first))):
            return False
        moved = self._begin is not None and self._intake.shared and partition not in self._gaps.arrived
        if moved and (after is not None or (self._begin is not None and self._begin.latest)):
            return False  # what the moved subscription leaves out is left out
        try:
            place = await self._read(first_stored, self._client, self._url, self.topic, partition, after)
        except pulsar.Timeout as error:
            self._gaps.unreadable(partition, after, first, error)
            return False
        if place is not None and place < first:
            return True
        if after is not None and not after.is_next(first):
            self._gaps.passed_by(partition, after, first)
            self.counts.gaps = self._gaps.passed
        return False

    async def _rest(self, groups: Sequence[Group]) -> None:
        """Nothing has come: acknowledge, tell what is owed, and see to groups that nothing has come for."""
        self.counts.lag = 0.0
        if self._accepted:
            await self._run(self._acknowledge)
        for group in groups:
            if self._is_whole(group):
                continue
            if self._leaves.owes(self._live(group)):
                await self._tell(group)
            quiet = monotonic() - self._opened >= QUIET_SECONDS
            if quiet and (group.signature not in self._woken or self._unchecked(group)):
                await self._wake(group)

    async def _wake(self, group: Group) -> None:
        """Take up where the leaves are in partitions that have brought nothing here, as after a restart, and
        read what they hold that the leaves have not had.
        """
        self._woken.add(group.signature)
        live, clock = self._live(group), self._router(group).clock
        progress = await self._leaves.progress(live)
        if clock.reached and not any(progress.values()) and live.labels:
            # They have all been started anew.
            self._forget(group.signature)
            self._woken.add(group.signature)
            clock = self._router(group).clock
        stand = _stand(live, progress)
        past = False
        for partition in range(self._partitions):
            if partition in clock.reached:
                continue
            found = stand.get(partition)
            after = None if found is None or found.offset == SILENT.offset else found.offset
            if after is None and self._begin is not None and self._begin.latest:
                continue
            self._start(group, partition, found)
            with suppress(pulsar.Timeout):  # then it is delivered, sooner or later
                place = await self._read(first_stored, self._client, self._url, self.topic, partition, after)
                past |= place is not None
        if past:
            await self._replay_all(group)
        else:
            await self._check_leaves(group, progress)

    # The past.

    def _is_whole(self, group: Group) -> bool:
        return any(r.whole and r.group.signature == group.signature for r in self._replays)

    def _live(self, group: Group) -> Group:
        """The group with those leaves only that are fed live."""
        apart = {n for r in self._replays if r.group.signature == group.signature for n in r.group.leaves}
        if not apart or self._is_whole(group):
            return group
        names = group.leaves.keys() - apart
        known = self._live_groups.get(group.signature)
        if known is None or known[0] is not group or known[1].leaves.keys() != names:
            made = replace(group, leaves={n: leaf for n, leaf in group.leaves.items() if n in names})
            known = self._live_groups[group.signature] = group, made
        return known[1]

    def _router(self, group: Group) -> Router:
        live = self._live(group)
        router = self._routers.get(group.signature)
        if router is None:
            router = self._routers[group.signature] = Router(live, self._partitions)
        elif router.group is not live and not self._is_whole(group):
            router.update(live)
        return router

    async def _replay_all(self, group: Group) -> None:
        router = self._router(group)
        after = {p: _place(router.clock.reached.get(p)) for p in range(self._partitions)}
        await self._begin_replay(group, router, after, lambda: dict(self._seen), whole=True)

    async def _check_leaves(self, group: Group, progress: Mapping[str, dict[int, Reached]]) -> None:
        """Begin a replay for leaves that have not had what the others have had."""
        router, live = self._router(group), self._live(group)
        # Where one worker of a leaf has everything, the others of it are at most owed the telling.
        lacking: dict[str, list[bool]] = {}
        for worker, _ in workers_of(live) if live.labels else []:
            name, has = worker.rpartition(".")[0], progress.get(worker, {})
            lacking.setdefault(name, []).append(
                any(
                    has.get(p, SILENT).offset < at.offset
                    for p, at in router.clock.reached.items()
                    if name not in self._level.get((group.signature, p), frozenset())
                )
            )
        behind = {name for name, lacks in lacking.items() if all(lacks)}
        for partition in router.clock.reached:
            self._level[group.signature, partition] = frozenset(group.leaves)
        if not behind or len(behind) == len(live.leaves):
            return
        own = replace(live, leaves={n: leaf for n, leaf in live.leaves.items() if n in behind})
        apart = Router(own, self._partitions)
        everyone = [progress.get(worker, {}) for worker, _ in workers_of(own)]
        for partition in range(self._partitions):
            least = min((has.get(partition, SILENT) for has in everyone), key=lambda r: r.offset)
            if least.offset != SILENT.offset:
                apart.clock.start(partition, least)
        after = {p: _place(apart.clock.reached.get(p)) for p in range(self._partitions)}

        def limits() -> dict[int, Offset]:
            return {p: router.clock.reached.get(p, SILENT).offset for p in range(self._partitions)}

        await self._begin_replay(own, apart, after, limits, whole=False)

    async def _begin_replay(
        self,
        group: Group,
        router: Router,
        after: Mapping[int, Offset | None],
        limits: Callable[[], Mapping[int, Offset]],
        *,
        whole: bool,
    ) -> None:
        past = await self._read(lambda: Past(self._client, self._url, self.topic, after))
        letters = None
        if not whole and group.source.idle_timeout is not None:
            letters = await self._read(
                lambda: LateLetters(self._client, self._url, self.topic, group.metrics)
            )

        async def take(own: Group, routed: Routed, batch: Sequence[Stored]) -> None:
            if whole:
                await self._refuse(batch, {r.row: (r.reason, r.message, own.metrics) for r in routed.refused})
                self.counts.events += routed.accepted
            await self._leaves.deliver(own, routed)

        self._replays.append(
            Replay(
                group,
                router,
                past,
                whole=whole,
                limits=limits,
                take=take,
                run=self._read,
                at_once=self._batch,
                begin=self._begin,
                letters=letters,
            )
        )
        log.info(
            "reading the past",
            topic=self.topic,
            metrics=group.metrics,
            leaves=None if whole else sorted(group.leaves),
            after={p: "the beginning" if at is None else shown(at) for p, at in after.items()},
        )

    async def _join(self, groups: Sequence[Group]) -> None:
        """Go on live with the leaves whose replay has come to where the live feeding is."""
        by_signature = {group.signature: group for group in groups}
        for replay in [*self._replays]:
            current = by_signature.get(replay.group.signature)
            if current is None:
                self._replays.remove(replay)
                await replay.close()
            if current is None or not replay.near:
                continue
            await replay.finish()
            self._replays.remove(replay)
            self.counts.replayed += replay.messages
            clock = self._router(current).clock
            if replay.whole:
                for partition, reached in clock.reached.items():
                    self._skip[current.signature, partition] = reached.offset
                    self._level.pop((current.signature, partition), None)
                self._leaves.owe(self._live(current))
            else:
                async with asyncio.TaskGroup() as tasks:
                    for worker, label in workers_of(replay.group):
                        told = clock.progress()
                        tasks.create_task(self._leaves.tell(replay.group, worker, label, told))
            log.info(
                "the past is read",
                topic=self.topic,
                metrics=current.metrics,
                leaves=None if replay.whole else sorted(replay.group.leaves),
                messages=replay.messages,
            )

    # Silence.

    def _may_have_risen(self, group: Group, partition: int) -> bool:
        """Whether another feeder may have let the watermark of a silent partition rise."""
        timeout = group.source.idle_timeout
        if timeout is None or not self._intake.shared:
            return False
        return monotonic() - self._heard.get(partition, float("-inf")) > timeout / 2e6

    async def _claim(self, group: Group, starting: Mapping[int, Offset]) -> None:
        """Have the journal refuse what another feeder, which may still think a partition silent, says of its
        watermark; and start from what it had said before.
        """
        live, clock = self._live(group), self._router(group).clock
        worker, label = live.journal()
        claims = {}
        for partition, first in starting.items():
            held = clock.reached.get(partition, SILENT)
            just_before = Offset(first.major, first.minor - 1)
            if just_before > held.offset:
                claims[partition] = replace(held, offset=just_before)
        if not claims:
            return
        await self._leaves.tell(live, worker, label, [r.as_progress(p) for p, r in claims.items()])
        journal = await self._leaves.asked(worker)
        for partition in claims:
            mark = journal.get(partition, SILENT).watermark
            if mark is not None:
                clock.rise(partition, mark)

    async def _let_rise(self, group: Group) -> None:
        """Let the watermarks of silent partitions rise, as the source's idle policy says (see ``idle``)."""
        timeout = group.source.idle_timeout
        if timeout is None or self._is_whole(group) or self._unchecked(group):
            return
        idle = self._idle.setdefault(group.signature, Idle(timeout))
        now = monotonic()
        if now - idle.looked < idle.every:
            return
        idle.looked = now
        live, clock = self._live(group), self._router(group).clock
        worker, label = live.journal()
        journal = await self._leaves.asked(worker)
        reached = {p: journal.get(p, SILENT) for p in range(self._partitions)}
        idle.note(reached, monotonic())
        silent = {p for p in idle.silent(now) if await self._is_caught_up(p, reached[p])}
        risen = idle.risen(reached, silent, now)
        if not risen:
            return
        told = {p: replace(reached[p], watermark=mark) for p, mark in risen.items()}
        # The journal first: what is final once must be so after a restart, too. It takes it only where no
        # message has come since.
        await self._leaves.tell(live, worker, label, [r.as_progress(p) for p, r in told.items()])
        confirmed = await self._leaves.asked(worker)
        told = {p: r for p, r in told.items() if confirmed.get(p, SILENT).offset == r.offset}
        for partition, r in told.items():
            if clock.reached.get(partition, SILENT).offset == r.offset and r.watermark is not None:
                clock.rise(partition, r.watermark)
        progress = await self._leaves.progress(live)
        async with asyncio.TaskGroup() as tasks:
            for other, other_label in workers_of(live):
                # A leaf that is behind may still be sent what it lacks, by another feeder: not past that.
                there = [
                    r.as_progress(p)
                    for p, r in told.items()
                    if progress[other].get(p, SILENT).offset == r.offset
                ]
                if other != worker and there:
                    tasks.create_task(self._leaves.tell(live, other, other_label, there))

    async def _is_caught_up(self, partition: int, reached: Reached) -> bool:
        """Whether the broker holds nothing of ``partition`` after ``reached``."""
        alone = isinstance(self._intake, Reading)
        if alone:
            seen = self._seen.get(partition)
            if seen is not None and seen > reached.offset:
                return False
            # What has come since would be among what was seen; to look means to read the whole topic.
            if self._caught_up.get(partition) == reached.offset:
                return True
        try:
            place = await self._read(
                first_stored, self._client, self._url, self.topic, partition, _place(reached)
            )
        except pulsar.Timeout:
            return False
        if alone and place is None:
            self._caught_up[partition] = reached.offset
        return place is None

    # Telling and acknowledging.

    async def _tell(self, group: Group) -> None:
        router = self._routers.get(group.signature)
        # A leaf that is new must be given the past before it is told how far the source is.
        if router is not None and not self._is_whole(group) and not self._unchecked(group):
            await self._leaves.settle(self._live(group), router.clock.progress())

    def _note_accepted(self, batch: Sequence[Stored]) -> None:
        for partition, at, message in batch:
            known = self._accepted.get(partition)
            if known is None or at > known[0]:
                self._accepted[partition] = at, message.message_id()

    def _acknowledge(self) -> None:
        if self._replays:
            return  # what they miss must stay in the broker
        self._intake.acknowledge(message for _, message in self._accepted.values())
        self._accepted.clear()
        self._acknowledged_at = monotonic()

    def _close(self) -> None:
        with suppress(pulsar.PulsarException):
            self._acknowledge()  # what was accepted; if the broker is gone, it comes again and is skipped
        for close in (self._intake.close, self._letters.close, self._client.close):
            with suppress(pulsar.PulsarException):
                close()


def _place(reached: Reached | None) -> Offset | None:
    return None if reached is None or reached.offset == SILENT.offset else reached.offset


def _stand(group: Group, progress: Mapping[str, dict[int, Reached]]) -> dict[int, Reached]:
    """How far ``group`` is to be taken to be: as the journal says, which hears of everything last; in
    partitions that it does not know, as the leaf that is furthest behind says.
    """
    journal, _ = group.journal()
    found = {p: r for p, r in progress.get(journal, {}).items() if r.offset != SILENT.offset}
    rest: dict[int, Reached] = {}
    for worker, reached in progress.items():
        for p, r in reached.items() if worker != journal else ():
            if p not in found and r.offset != SILENT.offset and (p not in rest or r.offset < rest[p].offset):
                rest[p] = r
    silent = {p: r for p, r in progress.get(journal, {}).items() if r.offset == SILENT.offset}
    return {**silent, **found, **rest}
