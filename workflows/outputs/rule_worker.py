"""``AlertRule``: tells the targets of a rule of every episode of the keys of one partition.

What is told is decided by ``alerts.alert_state``; here it is fed, and kept from run to run. Messages are
recorded before they are sent, as the input of the activity that hands them to the sinks of the targets, and
sent again, the same, until the sinks have them, which drop what they have by its number.

Nothing is told while what is heard is known to be incomplete: until everything has been heard that was in the
topic when the worker began, and while an input begins anew and has told less than before. With ``as_of:
clock`` the clock is ``workflow.now()``, but no later than the instant up to which the source is known to have
been read: that of the last message of every partition, or what an activity says that looks into the topic.
One timer is set, for the earliest instant at which there is something to tell.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RetryPolicy

with workflow.unsafe.imports_passed_through():
    from timeline_workers.alerts.alert_state import AlertState
    from timeline_workers.alerts.episodes import Message
    from timeline_workers.alerts.rule_view import RuleView, Told, pack_told, rule_view, unpack_told
    from timeline_workers.alerts.telling import Telling
    from timeline_workers.plan.alert_workers import AlertSpec
    from timeline_workers.wire.news import News
    from workflows.durable import carry
    from workflows.durable.inbox import Entry
    from workflows.messages import AlertInput, ProcessorResult, SourceRead
    from workflows.worker_status import AlertStatus

    from .batches import BATCH_BYTES, Batch, pack_batch
    from .message_batches import message_batches
    from .subscriber_workflow import SubscriberWorkflow

# By name: the activities need clients, which workflows do not know.
TELL_TARGETS = "tell_targets"
SOURCE_READ = "source_read"
HEARTBEAT_TIMEOUT = timedelta(seconds=10)
RECENT = 100
"""How many of the last messages a worker remembers."""
_EPOCH = datetime.fromtimestamp(0, UTC)
_MICROSECOND = timedelta(microseconds=1)
# Between two looks into the topic, in microseconds: as long as there is something new, and at most.
_PAUSE, _LONGEST_PAUSE = 2_000_000, 30_000_000


@workflow.defn
class AlertRule(SubscriberWorkflow[AlertInput]):
    """Tells of what one worker of a rule's truth says."""

    target = "the targets"
    bridges = True

    @workflow.init
    def __init__(self, input: AlertInput, carried: bytes) -> None:
        self._telling_of = Telling.of(input.spec.rule, input.spec.alert)
        self._alerts = AlertState(self._telling_of)
        self._rule: AlertSpec = input.spec
        self._recent: deque[Told] = deque(maxlen=RECENT)
        self._caught_up, self._clock = input.caught_up, input.clock
        self._topic_partitions = input.topic_partitions
        self._looking: asyncio.Task[SourceRead] | None = None
        self._alarm: asyncio.Task[None] | None = None
        self._alarm_at = 0
        self._pause, self._not_before = _PAUSE, 0
        self._waits_since: int | None = None
        self.metrics = (input.spec.rule,)
        super().__init__(input, input.spec, carried)

    @workflow.run
    async def run(self, input: AlertInput, carried: bytes) -> ProcessorResult:
        """Run until `stop`; ``carried`` is what the run before left (b"" at the start)."""
        return await self._serve()

    @workflow.signal
    def configure(self, spec: AlertSpec) -> None:
        """Tell the same truth in another way: to other targets, in other words, with other mutes."""
        self._inbox.put("configure", spec.model_dump_json().encode())

    @workflow.query
    def status(self) -> AlertStatus:
        """What this is, how far it is, and what ails it."""
        said = super().status().model_dump()
        return AlertStatus.model_validate(
            {
                **said,
                "firing": self._alerts.count_firing(),
                "next_change": self._alerts.next_change(),
                "clock": self._clock,
                "silent": self._why_silent() or self._what_waits(),
            }
        )

    @workflow.query
    def episodes(self) -> dict[str, Any]:
        """The episodes that are told and not forgotten, and the last messages (``alerts.rule_view``)."""
        view: RuleView = rule_view(self._alerts, self._recent, self._clock, self._why_silent())
        return view.as_json()

    # What is told.

    def _take(self) -> None:
        before = self._applied
        news = list(self._heard())
        if self._applied > before:
            self._waits_since = None  # what waited may have come; if not, the next look says so
        self._step(news)

    def _step(self, news: Iterable[News] = ()) -> None:
        self._alerts.hear(news)
        if self._why_silent():
            return
        messages = self._alerts.step((), self._clock_now())
        if messages:
            self._record(messages)

    def _record(self, messages: Iterable[Message]) -> None:
        now = self._now()
        self._recent.extend(Told(now, message) for message in messages)
        sent = [message for message in messages if not message.muted]
        if self._rule.alert.to and sent:
            self._batches.extend(message_batches(self._input.began + self._published, sent, BATCH_BYTES))
            self._published += len(sent)

    async def _tell(self, batch: Batch) -> None:
        await workflow.execute_activity(
            TELL_TARGETS,
            args=[self._rule, pack_batch(batch)],
            result_type=int,
            start_to_close_timeout=timedelta(minutes=10),
            heartbeat_timeout=HEARTBEAT_TIMEOUT,
            retry_policy=RetryPolicy(
                initial_interval=timedelta(milliseconds=500), maximum_interval=timedelta(seconds=20)
            ),
        )

    def _note_told(self, batch: Batch) -> None:
        # What is final is in the state; where that is lost, all of it is heard again.
        pass

    def _why_silent(self) -> str | None:
        """Why nothing is told, though there may be something to tell."""
        if not self._caught_up:
            return "what was in the topic when it began has not been heard yet"
        if self._unmended:
            return "a message of an input could not be read, and is not made up for yet"
        inbound = {} if self._subscriber is None else self._subscriber.inbound
        behind = [sender for sender, edge in inbound.items() if edge.is_behind]
        return f"{behind[0]}, which it hears, begins anew and is behind" if behind else None

    # The time.

    def _now(self) -> int:
        return (workflow.now() - _EPOCH) // _MICROSECOND

    def _clock_now(self) -> int | None:
        """How late it is, as far as it is known that the source has been read."""
        if self._telling_of.as_of != "clock":
            return None
        known = [] if self._clock is None else [self._clock]
        assert self._subscriber is not None
        read = {p.partition: p.published for p in self._subscriber.progress}
        times = [read.get(partition) for partition in range(self._topic_partitions)]
        published = [time for time in times if time is not None]
        if published and len(published) == len(times):
            known.append(min(published))
        return min(max(known), self._now()) if known else None

    def _what_waits(self) -> str | None:
        if self._waits_since is None or self._telling_of.as_of != "clock":
            return None
        since = _EPOCH + self._waits_since * _MICROSECOND
        return (
            f"its clock stands still: topic {self._rule.topic} has messages, the first published at "
            f"{since:%Y-%m-%dT%H:%M:%SZ}, that it has not heard of"
        )

    def _look_at_the_time(self) -> None:
        if self._looking is not None and self._looking.done():
            self._looked(self._looking.result())  # a defect fails the workflow task
            if not self._batches and self._subscriber is not None:
                self._step()
        if self._alarm is not None and self._alarm.done():
            self._alarm = None
        due = self._next_look()
        if due is None:
            return
        now = self._now()
        if due <= now:
            self._not_before = now + self._pause
            self._looking = asyncio.create_task(self._look())
        elif self._alarm is None or due < self._alarm_at:
            if self._alarm is not None:
                self._alarm.cancel()
            # Timers count whole milliseconds.
            self._alarm_at = due
            self._alarm = asyncio.create_task(workflow.sleep(timedelta(milliseconds=-(-(due - now) // 1000))))

    def _next_look(self) -> int | None:
        """When the topic has to be looked into next; None: it is not known, or it is being done."""
        if self._looking is not None or self._batches or self._subscriber is None or self._stopping:
            return None
        due: int | None = None
        if not self._caught_up:
            due = 0
        elif self._telling_of.as_of == "clock" and not self._why_silent():
            due = 0 if self._alerts.waits_for_step else self._alerts.next_change()
        return None if due is None else max(due, self._not_before)

    async def _look(self) -> SourceRead:
        assert self._subscriber is not None
        marks = [[p.partition, p.major, p.minor, p.published] for p in self._subscriber.progress]
        found: SourceRead = await workflow.execute_activity(
            SOURCE_READ,
            args=[self._rule.topic, marks],
            result_type=SourceRead,
            start_to_close_timeout=timedelta(seconds=60),
            heartbeat_timeout=HEARTBEAT_TIMEOUT,
            retry_policy=RetryPolicy(
                initial_interval=timedelta(milliseconds=500), maximum_interval=timedelta(seconds=20)
            ),
        )
        return found

    def _looked(self, found: SourceRead) -> None:
        self._looking = None
        gone_on = self._clock is None or found.read > self._clock
        self._clock = found.read if self._clock is None else max(self._clock, found.read)
        self._topic_partitions = found.partitions
        self._waits_since = found.read + 1 if found.waits else None
        self._caught_up = self._caught_up or found.read >= self._input.began
        self._pause = _PAUSE if gone_on else min(2 * self._pause, _LONGEST_PAUSE)

    def _is_due(self) -> bool:
        return any(task is not None and task.done() for task in (self._looking, self._alarm))

    # From run to run.

    def _configure(self, body: bytes) -> None:
        spec = AlertSpec.model_validate_json(body)
        if spec == self._rule:
            return
        self._rule = self._spec = spec
        self._input = self._input.model_copy(update={"spec": spec})
        self._telling_of = Telling.of(spec.rule, spec.alert)
        self._alerts = AlertState.restore(self._telling_of, self._alerts.snapshot())

    def _carried_besides(self) -> list[Entry]:
        self._alerts.compact()
        state, part = self._alerts.snapshot(), carry.STATE_PART_BYTES
        entries: list[Entry] = [("alert", state[i : i + part]) for i in range(0, len(state), part)]
        return [*entries, ("recent", pack_told(self._recent))]

    def _restore(self, entries: list[Entry]) -> None:
        state = b"".join(body for kind, body in entries if kind == "alert")
        self._alerts = (
            AlertState.restore(self._telling_of, state)
            if state
            else AlertState(self._telling_of, self._input.began)
        )
        for kind, body in entries:
            if kind == "recent":
                self._recent.extend(unpack_told(body))

    def _next_input(self, carried: Any) -> AlertInput:
        return (
            super()
            ._next_input(carried)
            .model_copy(
                update={
                    "caught_up": self._caught_up,
                    "clock": self._clock,
                    "topic_partitions": self._topic_partitions,
                }
            )
        )
