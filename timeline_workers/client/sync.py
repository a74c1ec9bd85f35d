"""``SyncTimelineClient``: the client without ``await``, for scripts and notebooks.

It has an event loop of its own, in a thread of its own, so that it can be used where a loop runs already (a
notebook) and where none does; in a coroutine it holds up the loop that runs, as any call that waits does.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from timeline_workers.answers.answer_models import Change, Spans, ValueAt
from timeline_workers.errors import TimelineError
from timeline_workers.metric.model import Metric, NamedSource, StoredSource, TimeUnit
from timeline_workers.plan.physical import Plan
from timeline_workers.plan.preview import ApplyPreview
from timeline_workers.settings.timeline_settings import Settings
from timeline_workers.targets.target import Target

from . import output_rows as of_outputs
from .models import (
    DeadLetter,
    DeadLetterCount,
    DriverResult,
    Instant,
    Key,
    MetricDescription,
    MetricHealth,
    Moved,
    Notice,
    Question,
    RemoveResult,
    Replayed,
    SourceResult,
)
from .overview import Overview
from .running_rules import AlertMessage, AlertsSeen, RuleDescription
from .timeline_client import _PATIENCE, Every, TimelineClient

if TYPE_CHECKING:
    from .dead_letters import Chosen

T = TypeVar("T")


class SyncTimelineClient:
    """``TimelineClient`` with methods that wait; made by ``connect``, ended by ``close`` or ``with``.

    Every method does what the one of that name does there. It may be used from several threads.
    """

    def __init__(self, start: Callable[[], Coroutine[Any, Any, TimelineClient]]) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="timeline-client", daemon=True)
        self._thread.start()
        try:
            self._client = self._wait(start())
        except BaseException:
            self.close()
            raise

    @classmethod
    def connect(
        cls,
        address: str | None = None,
        namespace: str | None = None,
        *,
        timeout: timedelta = timedelta(seconds=10),
    ) -> Self:
        """See ``TimelineClient.connect``."""
        return cls(lambda: TimelineClient.connect(address, namespace, timeout=timeout))

    def close(self) -> None:
        """End the thread; a call that waits in another one is cancelled."""
        if self._loop.is_closed():
            return
        asyncio.run_coroutine_threadsafe(_cancel_all(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _wait(self, call: Coroutine[Any, Any, T]) -> T:
        if self._loop.is_closed():
            call.close()
            raise TimelineError("this client is closed; connect another one")
        waiting = asyncio.run_coroutine_threadsafe(call, self._loop)
        try:
            return waiting.result()
        except BaseException:
            waiting.cancel()  # Ctrl-C: nobody waits for it any more
            raise

    # Metrics and stored sources.

    def apply(
        self,
        metric: Metric | str | Path,
        *,
        timeout: timedelta = _PATIENCE,
        tell: Callable[[str], object] = lambda _: None,
    ) -> DriverResult:
        """See ``TimelineClient.apply``."""
        return self._wait(self._client.apply(metric, timeout=timeout, tell=tell))

    def preview(self, metric: Metric | str | Path) -> ApplyPreview:
        """See ``TimelineClient.preview``."""
        return self._wait(self._client.preview(metric))

    def delete(self, name: str, *, timeout: timedelta = _PATIENCE) -> RemoveResult:
        """See ``TimelineClient.delete``."""
        return self._wait(self._client.delete(name, timeout=timeout))

    def metrics(self) -> list[Metric]:
        """See ``TimelineClient.metrics``."""
        return self._wait(self._client.metrics())

    def plans(self, topic: str | None = None) -> list[Plan]:
        """See ``TimelineClient.plans``."""
        return self._wait(self._client.plans(topic))

    def metric(self, name: str) -> Metric:
        """See ``TimelineClient.metric``."""
        return self._wait(self._client.metric(name))

    def apply_source(self, source: NamedSource | str | Path) -> SourceResult:
        """See ``TimelineClient.apply_source``."""
        return self._wait(self._client.apply_source(source))

    def sources(self) -> list[StoredSource]:
        """See ``TimelineClient.sources``."""
        return self._wait(self._client.sources())

    def source(self, name: str) -> StoredSource:
        """See ``TimelineClient.source``."""
        return self._wait(self._client.source(name))

    def alerts(self, *rules: str) -> AlertsSeen:
        """See ``TimelineClient.alerts``."""
        return self._wait(self._client.alerts(*rules))

    def describe_rule(self, rule: str, key: str | None = None) -> RuleDescription:
        """See ``TimelineClient.describe_rule``."""
        return self._wait(self._client.describe_rule(rule, key))

    def alert_messages(self, *rules: str, key: str | None = None) -> list[AlertMessage]:
        """See ``TimelineClient.alert_messages``."""
        return self._wait(self._client.alert_messages(*rules, key=key))

    def mute(self, rule: str, key: str, until: datetime) -> DriverResult:
        """See ``TimelineClient.mute``."""
        return self._wait(self._client.mute(rule, key, until))

    def delete_source(self, name: str) -> None:
        """See ``TimelineClient.delete_source``."""
        self._wait(self._client.delete_source(name))

    def apply_target(self, target: Target | str | Path) -> of_outputs.TargetResult:
        """See ``TimelineClient.apply_target``."""
        return self._wait(self._client.apply_target(target))

    def targets(self) -> list[Target]:
        """See ``TimelineClient.targets``."""
        return self._wait(self._client.targets())

    def target(self, name: str) -> Target:
        """See ``TimelineClient.target``."""
        return self._wait(self._client.target(name))

    def check_targets(self, rule: Metric) -> None:
        """See ``TimelineClient.check_targets``."""
        self._wait(self._client.check_targets(rule))

    def delete_target(self, name: str) -> None:
        """See ``TimelineClient.delete_target``."""
        self._wait(self._client.delete_target(name))

    def test_target(self, name: str) -> of_outputs.Answer:
        """See ``TimelineClient.test_target``."""
        return self._wait(self._client.test_target(name))

    def outputs(self) -> list[of_outputs.OutputRow]:
        """See ``TimelineClient.outputs``."""
        return self._wait(self._client.outputs())

    def describe_output(self, name: str) -> of_outputs.TargetDescription:
        """See ``TimelineClient.describe_output``."""
        return self._wait(self._client.describe_output(name))

    def tell_output(self, name: str, what: of_outputs.Told) -> int:
        """See ``TimelineClient.tell_output``."""
        return self._wait(self._client.tell_output(name, what))

    def send_given_up_again(self, name: str, *, again: bool = False) -> int:
        """See ``TimelineClient.send_given_up_again``."""
        return self._wait(self._client.send_given_up_again(name, again=again))

    def rollout(
        self,
        settings: Settings | None = None,
        *,
        unversioned: bool = False,
        timeout: timedelta = timedelta(minutes=10),
        tell: Callable[[str], object] = lambda _: None,
    ) -> Moved:
        """See ``TimelineClient.rollout``."""
        return self._wait(self._client.rollout(settings, unversioned=unversioned, timeout=timeout, tell=tell))

    # How they are.

    def describe(self, name: str) -> MetricDescription:
        """See ``TimelineClient.describe``."""
        return self._wait(self._client.describe(name))

    def health(self, *names: str) -> list[MetricHealth]:
        """See ``TimelineClient.health``."""
        return self._wait(self._client.health(*names))

    def overview(self, *names: str) -> Overview:
        """See ``TimelineClient.overview``."""
        return self._wait(self._client.overview(*names))

    def notices(self) -> list[Notice]:
        """See ``TimelineClient.notices``."""
        return self._client.notices()

    def keys(self, metric: str, *, node: str | None = None) -> list[Key]:
        """See ``TimelineClient.keys``."""
        return self._wait(self._client.keys(metric, node=node))

    # Questions.

    def value_at(
        self,
        metric: str,
        key: Key,
        at: Instant,
        *,
        node: str | None = None,
        aggregate: str | None = None,
        unit: TimeUnit | None = None,
    ) -> ValueAt:
        """See ``TimelineClient.value_at``."""
        return self._wait(self._client.value_at(metric, key, at, node=node, aggregate=aggregate, unit=unit))

    def spans(
        self,
        metric: str,
        key: Key,
        start: Instant,
        end: Instant,
        *,
        node: str | None = None,
        aggregate: str | None = None,
        unit: TimeUnit | None = None,
    ) -> Spans:
        """See ``TimelineClient.spans``."""
        return self._wait(
            self._client.spans(metric, key, start, end, node=node, aggregate=aggregate, unit=unit)
        )

    def change(
        self,
        metric: str,
        key: Key,
        start: Instant,
        end: Instant,
        *,
        node: str | None = None,
        aggregate: str | None = None,
        unit: TimeUnit | None = None,
    ) -> Change:
        """See ``TimelineClient.change``."""
        return self._wait(
            self._client.change(metric, key, start, end, node=node, aggregate=aggregate, unit=unit)
        )

    def values(
        self,
        metric: str,
        at: Instant,
        keys: Sequence[Key] | None = None,
        *,
        node: str | None = None,
        aggregate: str | None = None,
        unit: TimeUnit | None = None,
    ) -> list[ValueAt]:
        """See ``TimelineClient.values``."""
        return self._wait(self._client.values(metric, at, keys, node=node, aggregate=aggregate, unit=unit))

    def all_spans(
        self,
        metric: str,
        start: Instant,
        end: Instant,
        keys: Sequence[Key] | None = None,
        *,
        node: str | None = None,
        aggregate: str | None = None,
        unit: TimeUnit | None = None,
    ) -> list[Spans]:
        """See ``TimelineClient.all_spans``."""
        return self._wait(
            self._client.all_spans(metric, start, end, keys, node=node, aggregate=aggregate, unit=unit)
        )

    def changes(
        self,
        metric: str,
        start: Instant,
        end: Instant,
        keys: Sequence[Key] | None = None,
        *,
        every: Every | None = None,
        node: str | None = None,
        aggregate: str | None = None,
        unit: TimeUnit | None = None,
    ) -> list[Change]:
        """See ``TimelineClient.changes``."""
        return self._wait(
            self._client.changes(
                metric, start, end, keys, every=every, node=node, aggregate=aggregate, unit=unit
            )
        )

    def ask(
        self, metric: str, asked: Question, keys: Sequence[Key] | None = None
    ) -> Iterator[ValueAt | Spans | Change]:
        """See ``TimelineClient.ask``."""
        return self._each(self._client.ask(metric, asked, keys))

    def watch(
        self,
        metric: str,
        keys: Sequence[Key] | None = None,
        *,
        at: Instant | None = None,
        asked: Question | None = None,
        node: str | None = None,
        aggregate: str | None = None,
        unit: TimeUnit | None = None,
        interval: float = 1.0,
    ) -> Iterator[ValueAt | Spans | Change]:
        """See ``TimelineClient.watch``: an iterator that waits; leave the loop over it to end it."""
        return self._each(
            self._client.watch(
                metric,
                keys,
                at=at,
                asked=asked,
                node=node,
                aggregate=aggregate,
                unit=unit,
                interval=interval,
            )
        )

    def _each(self, answers: Any) -> Iterator[Any]:
        try:
            while True:
                try:
                    yield self._wait(anext(answers))
                except StopAsyncIteration:
                    return
        finally:
            if not self._loop.is_closed():
                self._wait(answers.aclose())

    # Dead letters.

    def dead_letters(self, topics: Sequence[str] = (), chosen: Chosen | None = None) -> list[DeadLetter]:
        """See ``TimelineClient.dead_letters``."""
        return self._wait(self._client.dead_letters(topics, chosen))

    def count_dead_letters(
        self, topics: Sequence[str] = (), chosen: Chosen | None = None
    ) -> list[DeadLetterCount]:
        """See ``TimelineClient.count_dead_letters``."""
        return self._wait(self._client.count_dead_letters(topics, chosen))

    def replay_dead_letters(
        self,
        topic: str,
        chosen: Chosen,
        *,
        payload: bytes | None = None,
        again: bool = False,
        dry_run: bool = False,
    ) -> Replayed:
        """See ``TimelineClient.replay_dead_letters``."""
        return self._wait(
            self._client.replay_dead_letters(topic, chosen, payload=payload, again=again, dry_run=dry_run)
        )


async def _cancel_all() -> None:
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
