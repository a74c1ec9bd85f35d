"""Bounds on a worker's state: what it gives up when a run ends, so that it stays bounded for years.

* It *compacts*: what lies below the watermark and is neither needed to go on nor within the retention is
  forgotten.
* Keys that have been idle for the metric's ``key_ttl`` leave for archives (``archive``), and are called back
  when a payload names them.
* State over the limit (``TIMELINE_STATE_BYTES``) is compacted further, oldest first, as if the retention were
  shorter. When even that is not enough, the worker is *paused*: it takes no more payloads, so that they wait
  where they are, answers what it is asked, and looks now and then whether it may go on.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import FailureError

with workflow.unsafe.imports_passed_through():
    from timeline_workers.errors import StateError
    from timeline_workers.runtime import eviction
    from timeline_workers.runtime.node_worker import NodeWorker
    from workflows.archive import archive_activities
    from workflows.archive.archive_activities import archive_id
    from workflows.durable import activities, carry
    from workflows.messages import ArchiveInput, Departed, Paused, ProcessorInput, RecallInput

    from .outgoing_edges import is_gone, reason, run_local

# How much of what lies below the watermark is kept, by the attempt to get below the limit.
_SHARES = (0.5, 0.2, 0.0)
_NAMES_AT_ONCE = 2_000
_ASKING_FOR = timedelta(seconds=60)
_PAUSE = timedelta(seconds=5)


class StateBounds:
    """Keeps ``node``, the worker of ``input``, within its bounds."""

    def __init__(self, input: ProcessorInput, node: NodeWorker) -> None:
        self._node = node
        self._key_ttl = input.spec.key_ttl
        self._worker_id = input.spec.worker_id
        self.state_bytes = input.state_bytes
        self.departed = input.departed
        self.paused = input.paused
        self.error: str | None = None
        self._told = eviction.known_below(node)

    @property
    def archives(self) -> list[str]:
        """The ids of the archives, the oldest first."""
        return [archive_id(self._worker_id, number) for number in range(self.departed.archives)]

    # At the end of a run.

    async def enforce(self, gone: Collection[str]) -> list[bytes]:
        """Give up what need not be kept; returns the state to carry, in parts. Sets ``paused`` when it is
        over the limit all the same.
        """
        if self.state_bytes is None:
            # Begun by release 0.1.0: the commands that end this run are those that it would have given.
            self.state_bytes = activities.DEFAULT_STATE_BYTES
            return self._node.snapshot(carry.STATE_PART_BYTES)
        self._node.compact(gone=gone)
        self.state_bytes = await self._limit(self.state_bytes)
        await self._send_away(gone)
        parts = self._node.snapshot(carry.STATE_PART_BYTES)
        for share in _SHARES:
            if sum(map(len, parts)) <= self.state_bytes:
                break
            early = self._node.horizon_keeping(share)
            if early is None:
                break
            # Another workflow task: compacting and packing a large state take a good part of the time of one.
            await workflow.sleep(timedelta(milliseconds=1))
            self._node.compact(early, gone)
            parts = self._node.snapshot(carry.STATE_PART_BYTES)
        size = sum(map(len, parts))
        self.paused = None if size <= self.state_bytes else _paused(size, self.state_bytes)
        return parts

    async def _limit(self, last: int) -> int:
        try:
            limit: int = await workflow.execute_local_activity(
                activities.state_limit,
                start_to_close_timeout=timedelta(seconds=10),
                schedule_to_close_timeout=_ASKING_FOR,
            )
        except FailureError as error:
            workflow.logger.warning(
                "cannot read the state size limit; keeping the last one: %s", reason(error)
            )
            return last
        return limit

    async def _send_away(self, gone: Collection[str]) -> None:
        if self._key_ttl is None:
            return
        departure = eviction.pack_idle(self._node, workflow.info().first_execution_run_id, gone)
        if not len(departure.keys):
            return
        held = self.departed
        # Decided by what earlier runs have stored: an attempt of this run that was lost chose the same
        # archive, so that what it stored there cannot stand before something newer in an older one.
        full = held.last_keys >= eviction.ARCHIVE_KEYS or held.last_bytes >= eviction.ARCHIVE_BYTES
        begins = full or not held.archives
        number = held.archives if begins else held.archives - 1
        archive = archive_id(self._worker_id, number)
        try:
            for segment in departure.segments:
                if begins:
                    input = ArchiveInput(spec=self._node.spec)
                    await run_local(archive_activities.begin_archive, archive, input, segment)
                else:
                    await run_local(archive_activities.store_segment, archive, segment)
        except FailureError as error:
            workflow.logger.warning(
                "cannot move idle keys to an archive; retrying at the next continue-as-new: %s", reason(error)
            )
            if is_gone(error):
                # It was ended by others. What it held may still be had for a while; the next keys to leave
                # begin another one.
                self._miss([archive])
                self.departed = self.departed.model_copy(update={"last_keys": eviction.ARCHIVE_KEYS})
            return
        eviction.evict(self._node, departure)
        self.departed = Departed(
            archives=number + 1,
            keys=held.keys + len(departure.keys),
            departures=held.departures + 1,
            last_keys=len(departure.keys) + (0 if begins else held.last_keys),
            last_bytes=departure.size + (0 if begins else held.last_bytes),
            lost=held.lost,
        )

    # Calling back.

    async def call_back(self, payloads: Sequence[bytes]) -> bool:
        """Put back the keys that ``payloads`` name and that have left; False when they cannot be had now, and
        the payloads must wait.
        """
        if not self.departed.archives:
            return True
        names = eviction.unknown(self._node, payloads)
        while names:
            try:
                # Not local: the answer must be recorded before anything follows from it. An attempt that was
                # lost may have sent a key away again, with what it had not told its subscribers yet, and
                # one that repeats its work must not get that.
                reply = await workflow.execute_activity(
                    archive_activities.recall_keys,
                    RecallInput(
                        worker_id=self._worker_id,
                        life=workflow.info().first_execution_run_id,
                        archives=self.departed.archives,
                        departures=self.departed.departures,
                        names=tuple(names[:_NAMES_AT_ONCE]),
                    ),
                    start_to_close_timeout=_ASKING_FOR,
                    schedule_to_close_timeout=_ASKING_FOR,
                    heartbeat_timeout=activities.HEARTBEAT_TIMEOUT,
                    retry_policy=RetryPolicy(maximum_interval=timedelta(seconds=10)),
                )
                recalled = archive_activities.unpack_recalled(reply)
                self._put_back(recalled.segments)
            except (FailureError, StateError) as error:
                why = reason(error) if isinstance(error, FailureError) else str(error)
                self.error = f"archived keys cannot be restored: {why}"
                workflow.logger.error("%s", self.error)
                await workflow.sleep(_PAUSE)
                return False
            if recalled.lost:
                self._miss(recalled.lost)
            names = [*recalled.rest, *names[_NAMES_AT_ONCE:]]
        self.error = None
        return True

    def _miss(self, archives: Collection[str]) -> None:
        lost = sorted({*self.departed.lost, *archives})
        self.departed = self.departed.model_copy(update={"lost": tuple(lost)})

    def _put_back(self, segments: list[bytes]) -> None:
        count = eviction.recall(self._node, segments, workflow.info().first_execution_run_id)
        self.departed = self.departed.model_copy(update={"keys": self.departed.keys - count})

    # While paused.

    async def may_go_on(self) -> bool:
        """Look again: the worker is paused no longer, or may find at the end of a run that it is not."""
        if self.paused is None:
            return True
        limit = await self._limit(self.paused.limit)
        if self.paused.size <= limit:
            self.paused, self.state_bytes = None, limit
            return True
        # What was kept for a subscriber that had not been told of it yet may be compacted by now.
        return eviction.known_below(self._node) != self._told


def _paused(size: int, limit: int) -> Paused:
    return Paused(
        size=size,
        limit=limit,
        reason=f"the state has {size:,} bytes when it is packed, and TIMELINE_STATE_BYTES allows {limit:,}: "
        "the worker is paused, and its input waits. Raise the limit, or apply the metric with more "
        "partitions, a shorter retention or a key_ttl",
    )
