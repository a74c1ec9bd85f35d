"""``TimelineClient``: everything that `timeline` does with a cluster, from Python, with types.

Every call asks the servers anew: nothing is remembered but for some seconds how workers are. All errors are
those of ``timeline_workers.errors``, each with its ``code``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from temporalio.client import Client

from timeline_workers.alerts.rule_files import load_definition
from timeline_workers.answers.answer_models import Change, Spans, ValueAt
from timeline_workers.errors import QuestionError, UnknownNameError
from timeline_workers.metric.load import load_source
from timeline_workers.metric.model import Metric, NamedSource, StoredSource, TimeUnit
from timeline_workers.plan.physical import Plan, plan
from timeline_workers.plan.preview import ApplyPreview, preview
from timeline_workers.servers.temporal.temporal_client import connect
from timeline_workers.settings.timeline_settings import Settings
from timeline_workers.targets.target import Target
from timeline_workers.targets.target_files import load_target
from workflows.catalog.entries import plans_of
from workflows.catalog.stored_sources import apply_source, delete_source, find_source, stored_sources
from workflows.catalog.stored_targets import (
    apply_target,
    delete_target,
    find_rule_targets,
    find_target,
    known_targets,
    try_target,
)
from workflows.client import ask, worker_health
from workflows.client.beneath import notices_of
from workflows.client.client_errors import clear_errors
from workflows.client.conditions import MetricHealth, Notice, metric_health
from workflows.client.known_keys import known_keys
from workflows.client.rollout import Moved, rollout, unversioned as roll_back
from workflows.messages import CatalogEntry, DriverResult, RemoveResult, SourceResult

from . import output_rows as of_outputs, running_rules
from .models import Instant, Key, MetricDescription, Question, question, read_answer
from .overview import Overview, look_over
from .running_rules import AlertMessage, AlertsSeen, RuleDescription
from .watching import Watch

if TYPE_CHECKING:
    from .dead_letters import Chosen
    from .models import DeadLetter, DeadLetterCount, Replayed
    from .sync import SyncTimelineClient

Every = int | float | str | timedelta
_PATIENCE = timedelta(minutes=2)


class TimelineClient:
    """A cluster's metrics: apply them, ask them, see how they are.

    Made by ``connect`` and used in one event loop; ``temporal`` is the client of Temporal underneath.
    """

    def __init__(self, temporal: Client) -> None:
        self.temporal = temporal

    @classmethod
    async def connect(
        cls,
        address: str | None = None,
        namespace: str | None = None,
        *,
        timeout: timedelta = timedelta(seconds=10),
    ) -> TimelineClient:
        """Connect to Temporal at ``address`` (default: TEMPORAL_ADDRESS, or what `timeline dev` runs here).

        TLS, API keys and the keys of payloads are those of the environment, as for every command. The broker
        is connected to only for dead letters. Raises ConnectionFailedError, SettingsError.
        """
        return cls(await connect(address, namespace, timeout=timeout))

    @staticmethod
    def sync(address: str | None = None, namespace: str | None = None) -> SyncTimelineClient:
        """The same client without ``await``, connected: for scripts and notebooks."""
        from .sync import SyncTimelineClient

        return SyncTimelineClient.connect(address, namespace)

    # Metrics and stored sources.

    async def apply(
        self,
        metric: Metric | str | Path,
        *,
        timeout: timedelta = _PATIENCE,
        tell: Callable[[str], object] = lambda _: None,
    ) -> DriverResult:
        """Have the graph of a metric running: a ``Metric``, a YAML file, or its text. Returns its workers.

        The same again starts only what is missing. A source that the metric names is looked up in the
        catalog. ``tell`` hears what takes time. Raises MetricError, ExpressionError; ConnectionFailedError
        when it takes longer than ``timeout`` (it goes on by itself then).
        """
        wanted = metric if isinstance(metric, Metric) else await self.load(metric)
        return await ask.apply(self.temporal, wanted, timeout=timeout, tell=tell)

    async def preview(self, metric: Metric | str | Path) -> ApplyPreview:
        """What applying a metric would do: the workers that would start, stop, go on, or are shared.

        Raises MetricError, ExpressionError for one that is wrong, UnknownNameError for a rule that names a
        target that is not there.
        """
        wanted = metric if isinstance(metric, Metric) else await self.load(metric)
        planned = await asyncio.to_thread(plan, wanted)
        await self.check_targets(wanted)
        return preview(planned, await self.plans())

    async def load(self, file: str | Path) -> Metric:
        """Read a metric, or a rule as the metric of its truth, from a YAML file or text, with the stored
        source that it names."""
        loop = asyncio.get_running_loop()

        def find(name: str) -> StoredSource:
            return asyncio.run_coroutine_threadsafe(self.source(name), loop).result()

        return await asyncio.to_thread(load_definition, file, find)

    async def delete(self, name: str, *, timeout: timedelta = _PATIENCE) -> RemoveResult:
        """Remove a metric, and end the workers that no other metric needs. Raises UnknownNameError."""
        return await ask.delete(self.temporal, name, timeout=timeout)

    async def metrics(self) -> list[Metric]:
        """The applied metrics that this release can read, by name; ``health`` names the others, too."""
        return [entry.metric for entry in await self.entries()]

    async def entries(self) -> list[CatalogEntry]:
        """The applied metrics as the catalog has them, with their generations."""
        return await ask.registered(self.temporal)

    async def plans(self, topic: str | None = None) -> list[Plan]:
        """The graphs of the applied metrics (on ``topic``); one that cannot be planned has none."""
        return plans_of(await self.entries(), topic)

    async def metric(self, name: str) -> Metric:
        """The applied metric ``name``; raises UnknownNameError with the nearest name."""
        return await ask.find_metric(self.temporal, name)

    async def apply_source(self, source: NamedSource | str | Path) -> SourceResult:
        """Store a source, from its YAML file or text too; metrics that run keep the version they have."""
        wanted = source if isinstance(source, NamedSource) else await asyncio.to_thread(load_source, source)
        return await apply_source(self.temporal, wanted)

    async def sources(self) -> list[StoredSource]:
        """The stored sources, by name."""
        return await stored_sources(self.temporal)

    async def source(self, name: str) -> StoredSource:
        """The stored source ``name``; raises UnknownNameError with the nearest name."""
        return await find_source(self.temporal, name)

    async def delete_source(self, name: str) -> None:
        """Remove a stored source; MetricError, with their names, while applied metrics name it."""
        await delete_source(self.temporal, name)

    async def rollout(
        self,
        settings: Settings | None = None,
        *,
        unversioned: bool = False,
        timeout: timedelta = timedelta(minutes=10),
        tell: Callable[[str], object] = lambda _: None,
    ) -> Moved:
        """Make the build that ``settings`` name (default: the environment's) the current one, and move every
        timeline worker to it; ``unversioned``: back to unversioned worker processes.

        Raises QuestionError, ConnectionFailedError and TimelineError as `timeline rollout` says.
        """
        chosen = settings or Settings.from_env()
        if not unversioned:
            return await rollout(self.temporal, chosen, timeout=timeout, tell=tell)
        moved = await roll_back(self.temporal, chosen.task_queue, timeout=timeout, tell=tell)
        return Moved(deployment_name=None, build_id=None, moved=moved)

    # How they are.

    async def describe(self, name: str) -> MetricDescription:
        """A metric's graph, and how each of its workers is."""
        planned = plan(await self.metric(name))
        workers = await ask.running_workers(self.temporal, planned)
        async with clear_errors(self.temporal):
            found = await worker_health.examine(self.temporal, workers)
        return MetricDescription(plan=planned, workers=tuple(found))

    async def health(self, *names: str) -> list[MetricHealth]:
        """What is wrong with the metrics ``names`` (default: all), the worst first.

        Takes some seconds at most. Raises ConnectionFailedError when Temporal or the catalog does not answer,
        and UnknownNameError.
        """
        return await metric_health(self.temporal, names)

    async def overview(self, *names: str) -> Overview:
        """What `timeline get` shows: how metrics are, how far, and what they hold."""
        return await look_over(self.temporal, names)

    def notices(self) -> list[Notice]:
        """What was come across while asking that makes no answer wrong."""
        return notices_of(self.temporal)

    async def keys(self, metric: str, *, node: str | None = None) -> list[Key]:
        """The keys that a node knows (default: the result; of an aggregate its groups), in order: those that
        its workers hold, and those in their archives.
        """
        planned = plan(await self.metric(metric))
        return await known_keys(self.temporal, planned, ask.find_node(planned, node))

    # Questions about one key.

    async def value_at(
        self,
        metric: str,
        key: Key,
        at: Instant,
        *,
        node: str | None = None,
        aggregate: str | None = None,
        unit: TimeUnit | None = None,
    ) -> ValueAt:
        """The value of ``key`` (of an aggregate: the group) at an instant.

        ``node``, ``aggregate`` and ``unit`` are those of ``Question``. Raises UnknownNameError for a key,
        node or metric that is not known, with the nearest name.
        """
        asked = question("value_at", at=at, node=node, aggregate=aggregate, unit=unit)
        return cast(ValueAt, await self._one(metric, key, asked))

    async def spans(
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
        """The spans of ``key`` over ``[start, end)``."""
        asked = question("spans", start=start, end=end, node=node, aggregate=aggregate, unit=unit)
        return cast(Spans, await self._one(metric, key, asked))

    async def change(
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
        """The change of ``key`` over ``[start, end)``; ``changes`` gives it per interval."""
        asked = question("change", start=start, end=end, node=node, aggregate=aggregate, unit=unit)
        return cast(Change, await self._one(metric, key, asked))

    async def _one(self, metric: str, key: Key, asked: Question) -> ValueAt | Spans | Change:
        found = [answer async for answer in self.ask(metric, asked, [key])]
        if len(found) == 1:
            return found[0]
        functions = ", ".join(dict.fromkeys(answer.aggregate for answer in found if answer.aggregate))
        said = (
            f"say which function with aggregate=: {functions}" if functions else "ask with values() for all"
        )
        raise QuestionError(f"there are {len(found)} answers for key {key!r}; {said}")

    # Questions about some keys, or all.

    async def values(
        self,
        metric: str,
        at: Instant,
        keys: Sequence[Key] | None = None,
        *,
        node: str | None = None,
        aggregate: str | None = None,
        unit: TimeUnit | None = None,
    ) -> list[ValueAt]:
        """The values of ``keys`` at an instant (None: of every key, in order)."""
        asked = question("value_at", at=at, node=node, aggregate=aggregate, unit=unit)
        return [cast(ValueAt, answer) async for answer in self.ask(metric, asked, keys)]

    async def all_spans(
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
        """The spans of ``keys`` over ``[start, end)`` (None: of every key, in order)."""
        asked = question("spans", start=start, end=end, node=node, aggregate=aggregate, unit=unit)
        return [cast(Spans, answer) async for answer in self.ask(metric, asked, keys)]

    async def changes(
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
        """The changes of ``keys`` over ``[start, end)`` (None: of every key, in order).

        With ``every`` (``"1m"``, seconds) one for each interval of that length, aligned to the epoch.
        """
        asked = question(
            "change", start=start, end=end, every=every, node=node, aggregate=aggregate, unit=unit
        )
        return [cast(Change, answer) async for answer in self.ask(metric, asked, keys)]

    async def ask(
        self, metric: str, asked: Question, keys: Sequence[Key] | None = None
    ) -> AsyncGenerator[ValueAt | Spans | Change, None]:
        """Answers to any question as they come, for ``keys`` or (None) every key in order: what all others of
        these methods are made of.

        An answer that rests on a worker or server which is not well says so (``health``), and is never final.
        """
        planned = plan(await self.metric(metric))
        async for answer in self.ask_planned(planned, asked, keys):
            yield answer

    async def ask_planned(
        self, planned: Plan, asked: Question, keys: Sequence[Key] | None = None
    ) -> AsyncGenerator[ValueAt | Spans | Change, None]:
        """``ask`` a metric whose plan is at hand."""
        node = ask.find_node(planned, asked.node)
        functions = ask.functions_of(node)
        if asked.aggregate is not None:
            if asked.aggregate not in functions:
                known = ", ".join(one for one in functions if one) or "none: it is no aggregate"
                raise UnknownNameError(
                    f"node {node.name} has no function {asked.aggregate!r}; it has {known}"
                )
            functions = [asked.aggregate]
        parameters = asked.parameters(planned.metric.source.time_unit)
        questions = [{**parameters, **({"aggregate": one} if one else {})} for one in functions]
        found = ask.ask(self.temporal, planned, node, asked.kind, questions, keys=keys)
        try:
            async for answer in found:
                yield read_answer(asked.kind, answer)
        finally:
            await cast(Any, found).aclose()

    # Watching.

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
    ) -> AsyncGenerator[ValueAt | Spans | Change, None]:
        """Answers for ``keys`` (None: every key): at first all, then each that has become another; for ever.

        What is asked: the value at the present instant, and another value, slope or beginning of its piece is
        a change; or, with ``at``, the value at that instant; or ``asked``, any question of fixed times. A key
        that is not known yet is waited for.

        It polls: every ``interval`` seconds the catalog and the node's workers are asked once how far they
        are, which costs each a query (no event in a history), and brings a worker back to memory that had
        left it. Only when some of them have taken something since is the question asked again.
        """
        if asked is None:
            asked = None if at is None else question("value_at", at=at)
            narrowed = {"node": node, "aggregate": aggregate, "unit": unit}
        elif at is not None or (node, aggregate, unit) != (None, None, None):
            raise QuestionError("a watch has asked=, which says everything, or at, node, aggregate and unit")
        else:
            narrowed = {}
        return Watch(self, metric, keys, asked, narrowed, interval).answers()

    # Outputs: targets of alerts, and the topics that metrics publish to.

    async def apply_target(self, target: Target | str | Path) -> of_outputs.TargetResult:
        """Have a target of alerts known, from its YAML file or text too; another of the same name is
        replaced, also for what waits to be sent. Raises TargetError."""
        wanted = await asyncio.to_thread(load_target, target) if isinstance(target, str | Path) else target
        return await apply_target(self.temporal, wanted)

    async def targets(self) -> list[Target]:
        """The targets of alerts, by name."""
        return await known_targets(self.temporal)

    async def target(self, name: str) -> Target:
        """The target ``name``; raises UnknownNameError with the nearest name."""
        return await find_target(self.temporal, name)

    async def check_targets(self, rule: Metric) -> None:
        """Raise UnknownNameError, with the nearest name, where ``rule`` names a target that is not there."""
        if rule.alert is not None:
            applied = {metric.name: metric for metric in await self.metrics()}
            await find_rule_targets(self.temporal, rule, applied.get(rule.name))

    async def delete_target(self, name: str) -> None:
        """Remove a target; what waits to be sent becomes dead letters. TargetError, with their names, while
        rules name it."""
        await delete_target(self.temporal, name)

    async def test_target(self, name: str) -> of_outputs.Answer:
        """Send a target a message that says that it is a test; what it answers."""
        return await try_target(self.temporal, name)

    async def outputs(self) -> list[of_outputs.OutputRow]:
        """All outputs, and how each is."""
        return await of_outputs.outputs(self.temporal)

    async def describe_output(self, name: str) -> of_outputs.TargetDescription:
        """A target, the rules that name it, and how its sinks are."""
        return await of_outputs.describe_output(self.temporal, name)

    async def tell_output(self, name: str, what: of_outputs.Told) -> int:
        """Have a target tried again now (``retry``), not be sent anything (``pause``), or be sent what waits
        (``resume``); how many sinks it has. QuestionError where it was not told anything yet."""
        return await of_outputs.tell_output(self.temporal, name, what)

    async def send_given_up_again(self, name: str, *, again: bool = False) -> int:
        """Send a target once more what was given up, of each episode the last message; how many that are.
        What was sent again before is left out, unless ``again``."""
        from .given_up import send_given_up_again

        return await send_given_up_again(self.temporal, name, again=again)

    # Alert rules.

    async def alerts(self, *rules: str) -> AlertsSeen:
        """The episodes that go on, of ``rules`` (default: all). Raises UnknownNameError."""
        return await running_rules.firing(self.temporal, rules)

    async def describe_rule(self, rule: str, key: str | None = None) -> RuleDescription:
        """A rule: its episodes and last messages (of ``key``), its mutes, and how it is."""
        return await running_rules.describe_rule(self.temporal, rule, key)

    async def alert_messages(self, *rules: str, key: str | None = None) -> list[AlertMessage]:
        """The last messages of ``rules`` (default: all), oldest first; ``key``: a glob that keys match."""
        return await running_rules.messages_of(self.temporal, rules, key)

    async def mute(self, rule: str, key: str, until: datetime) -> DriverResult:
        """Have nobody told of what begins in keys of ``rule`` that match the glob ``key`` before ``until``.
        Its file does not know of it, so that it is over when that is applied again. Raises RuleError.
        """
        return await self.apply(await running_rules.muted(self.temporal, rule, key, until))

    # Dead letters.

    async def dead_letters(
        self, topics: Sequence[str] = (), chosen: Chosen | None = None
    ) -> list[DeadLetter]:
        """The events of ``topics`` (default: those of the applied metrics) that were not applied."""
        from .dead_letters import Chosen, letters_of

        return await asyncio.to_thread(letters_of, await self._topics(topics, chosen), chosen or Chosen())

    async def count_dead_letters(
        self, topics: Sequence[str] = (), chosen: Chosen | None = None
    ) -> list[DeadLetterCount]:
        """How many dead letters there are, by topic, reason and metric, and how many were replayed."""
        from .dead_letters import Chosen, counts_of

        return await asyncio.to_thread(counts_of, await self._topics(topics, chosen), chosen or Chosen())

    async def replay_dead_letters(
        self,
        topic: str,
        chosen: Chosen,
        *,
        payload: bytes | None = None,
        again: bool = False,
        dry_run: bool = False,
    ) -> Replayed:
        """Send dead letters to their topic again, each once, however often this is called (``again``: also
        those that were replayed before). ``payload`` stands in the place of that of a single letter.

        ``warnings`` of the result say what the applied metrics make of them; with ``dry_run`` that is all.
        """
        from .dead_letters import replay_now

        return await replay_now(self.temporal, topic, chosen, payload=payload, again=again, dry_run=dry_run)

    async def _topics(self, topics: Sequence[str], chosen: Chosen | None) -> list[str]:
        from .dead_letters import topics_of

        return list(dict.fromkeys(topics)) or await topics_of(
            self.temporal, chosen.metric if chosen else None
        )
