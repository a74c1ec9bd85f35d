"""One run, from start to report."""

from __future__ import annotations

import asyncio
import json
import os
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field
from statistics import quantiles
from time import monotonic
from typing import Any

import pulsar
from temporalio.client import Client

from tests.chaos import schedule
from tests.chaos.asking import Asker, Final
from tests.chaos.comparing import Comparison, Differences, Letter, account_for
from tests.chaos.judging import Judged, Message, Place, judge
from tests.chaos.metrics import metrics
from tests.chaos.programs import Program, module
from tests.chaos.stacks import TOPIC, TOPIC_PARTITIONS, Stack
from tests.chaos.stored import Incomplete, as_message, hole, read_topic
from tests.chaos.traffic import END, span, traffic
from timeline_workers.errors import TimelineError
from timeline_workers.graph.plan import Plan, is_global, plan
from timeline_workers.temporal_client import connect
from workflows import ask
from workflows.ask_worker import ask_worker
from workflows.start import all_workers

DRAIN_SECONDS = 300.0
LOOK_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Options:
    """What one run does.

    ``drain``: seconds after the load until everything must be applied; ``hand_over``: after so many inputs a
    worker continues as new (None: when Temporal suggests it, which a short run does not live to see).
    """

    seed: int
    seconds: float
    events: int
    kills: int
    workers: int = 2
    feeders: int = 1
    drain: float = DRAIN_SECONDS
    hand_over: int | None = 50


@dataclass(slots=True)
class Report:
    """What happened. ``ok``: no difference, no question unanswered, nothing that broke by itself."""

    options: dict[str, Any]
    stack: str
    kills: list[dict[str, Any]] = field(default_factory=list)
    killed: dict[str, int] = field(default_factory=dict)
    stored: int = 0
    sent_twice: int = 0
    accepted: dict[str, int] = field(default_factory=dict)
    refused: dict[str, dict[str, int]] = field(default_factory=dict)
    letters: int = 0
    letters_twice: int = 0
    load_seconds: float = 0.0
    drain_seconds: float = 0.0
    questions: dict[str, Any] = field(default_factory=dict)
    compared: dict[str, int] = field(default_factory=dict)
    differences: dict[str, int] = field(default_factory=dict)
    shown: list[str] = field(default_factory=list)
    ended_by_themselves: dict[str, int] = field(default_factory=dict)
    cured: dict[str, int] = field(default_factory=dict)
    workers: dict[str, Any] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether all was as it must be."""
        return not self.differences and not self.questions.get("failed")

    def json(self) -> str:
        """The report as JSON."""
        return json.dumps({"ok": self.ok, **asdict(self)}, indent=2, default=str)


Tell = Callable[[str], object]


async def run(
    options: Options, stacks: AbstractAsyncContextManager[Stack], name: str, tell: Tell = print
) -> Report:
    """Run once: start, load and kill, drain, compare. Leaves no process behind, however it ends."""
    report = Report(asdict(options), name)
    async with stacks as stack:
        _configure(stack)
        stack.add_programs(options.workers, options.feeders)
        tell(f"chaos: seed {options.seed} on {name}; logs in {stack.directory / 'logs'}")
        await stack.start()
        async with _supervised(stack):
            client = await connect()
            plans = [plan(metric) for metric in metrics(TOPIC)]
            for planned in plans:
                await ask.apply(client, planned.metric, continue_as_new_after=options.hand_over)
            for feeder in stack.feeders:
                await feeder.up()
            finals = await _load(options, stack, client, plans, report, tell)
            await _settle(options, stack, client, plans, finals, report, tell)
        report.cured = stack.cured
        report.ended_by_themselves = {p.name: p.unasked for p in stack.programs.values() if p.unasked}
    return report


def _configure(stack: Stack) -> None:
    # This process asks, too. What a user has configured elsewhere must not take part.
    for name in [n for n in os.environ if n.startswith(("TEMPORAL_", "TIMELINE_"))]:
        del os.environ[name]
    os.environ.update(stack.environment)


@asynccontextmanager
async def _supervised(stack: Stack) -> AsyncIterator[None]:
    supervising = asyncio.create_task(stack.supervise())
    try:
        yield
    finally:
        supervising.cancel()
        with suppress(asyncio.CancelledError):
            await supervising


async def _load(
    options: Options, stack: Stack, client: Client, plans: list[Plan], report: Report, tell: Tell
) -> list[Final]:
    kills = schedule.draw(options.seed, options.seconds, options.kills, list(stack.programs))
    report.kills = [asdict(kill) for kill in kills]
    tell("kills: " + ", ".join(f"{k.at:g}s {k.target} ({k.away:g}s)" for k in kills))
    producer = stack.program("producer", [
        *module("tests.chaos.producer"), TOPIC, str(stack.directory / "places"),
        "--seed", str(options.seed), "--events", str(options.events), "--seconds", str(options.seconds),
    ])  # fmt: skip
    asked = [p for p in plans if not is_global(p.result)]
    asker = Asker(client, asked, span(options.events), options.seed, stack.needed, stack.workers)
    stop = asyncio.Event()
    begun = monotonic()
    asking = asyncio.create_task(asker.run(stop, lambda: min(1.0, (monotonic() - begun) / options.seconds)))
    try:
        producer.start()
        await _kill_all(stack, kills, begun, report)
        await asyncio.to_thread(_wait, producer, options.seconds + options.drain)
        report.load_seconds = round(monotonic() - begun, 1)
        for program in stack.programs.values():
            await program.up()
        stop.set()
        await asking
    finally:
        asking.cancel()
        producer.stop()
    report.questions = _questions(asker)
    for begin, end, words in asker.asked.failed[:10]:
        report.shown.append(f"not answered from {begin - begun:.1f}s to {end - begun:.1f}s: {words}")
    tell(f"load: {report.load_seconds:.0f} s, {dict(report.killed)}; questions: {report.questions}")
    return asker.asked.finals


def _wait(producer: Program, seconds: float) -> None:
    assert producer.process is not None
    code = producer.process.wait(seconds)
    if code != 0:
        raise RuntimeError(f"the producer ended with code {code}; see {producer.log}")


async def _kill_all(stack: Stack, kills: list[schedule.Kill], begun: float, report: Report) -> None:
    async def one(kill: schedule.Kill) -> None:
        await stack.kill(kill.target, kill.away)
        report.killed[kill.target] = report.killed.get(kill.target, 0) + 1

    async with asyncio.TaskGroup() as tasks:
        for kill in kills:
            await asyncio.sleep(max(0.0, begun + kill.at - monotonic()))
            tasks.create_task(one(kill))


def _questions(asker: Asker) -> dict[str, Any]:
    asked = asker.asked
    return {
        "asked": asked.count,
        "answered": asked.answered,
        "values among them": asked.values,
        "attempts": asked.attempts,
        "waits": _waits(asked.waits),
        "waits while nothing was away": _waits(asked.calm),
        "called final": len(asked.finals),
        "excused": len(asked.excused),
        "failed": len(asked.failed),
    }


def _waits(seconds: list[float]) -> dict[str, Any]:
    cuts = quantiles(seconds, n=100) if len(seconds) > 1 else [*seconds, 0.0][:1] * 99
    return {
        "count": len(seconds),
        "median_ms": round(cuts[49] * 1000),
        "p99_ms": round(cuts[98] * 1000),
        "longest_ms": round(max(seconds, default=0.0) * 1000),
    }


async def _settle(
    options: Options,
    stack: Stack,
    client: Client,
    plans: list[Plan],
    finals: list[Final],
    report: Report,
    tell: Tell,
) -> None:
    found = Differences()
    messages = await asyncio.to_thread(_truth, stack)
    report.stored = len(messages)
    sent = {message.payload for message in traffic(options.seed, options.events)} | {END}
    found.check("payloads are what was sent", {m.payload for m in messages.values()} == sent, "some are not")
    judged = _judge(plans, messages)
    for name, one in judged.items():
        report.accepted[name] = len(one.accepted)
        report.refused[name] = dict(Counter(one.refused.values()))
    tell(f"stored: {len(messages):,}; accepted {report.accepted}")
    begun = monotonic()
    last = {p: max(m.at for m in messages if m.partition == p) for p in {m.partition for m in messages}}
    missing = await _applied(client, plans, last, options.drain)
    report.drain_seconds = round(monotonic() - begun, 1)
    found.check(
        "everything is applied in time", not missing, f"not applied after {options.drain:.0f} s: {missing}"
    )
    await _compare(options, stack, client, plans, judged, messages, finals, found, report, tell)
    report.compared, report.differences = dict(found.compared), dict(found.count)
    report.shown += found.shown


def _truth(stack: Stack) -> dict[Place, Message]:
    confirmed: set[Place] = set()
    for line in (stack.directory / "places").read_text().splitlines():
        _, partition, ledger, entry, index = map(int, line.split())
        confirmed.add(Place(partition, (ledger, entry, index)))

    def complete(found: Mapping[Place, pulsar.Message]) -> str | None:
        missing = confirmed - found.keys()
        if missing:
            return f"{len(missing):,} confirmed messages are missing, such as {min(missing, key=str)}"
        ended = {place.partition for place, message in found.items() if message.data() == END}
        if len(ended) < TOPIC_PARTITIONS:
            return f"only partitions {sorted(ended)} have an end mark"
        return hole(found)

    found = read_topic(stack.pulsar_url, TOPIC, complete)
    return {place: as_message(place, message) for place, message in found.items()}


def _judge(plans: list[Plan], messages: Mapping[Place, Message]) -> dict[str, Judged]:
    by_source: dict[str, Judged] = {}
    result = {}
    for planned in plans:
        source = planned.metric.source
        name = source.model_dump_json()
        if name not in by_source:
            by_source[name] = judge(messages.values(), source)
        result[planned.metric.name] = by_source[name]
    return result


async def _applied(
    client: Client, plans: list[Plan], last: Mapping[int, tuple[int, int, int]], within: float
) -> list[str]:
    """Wait until every worker has heard of the last message of every partition; what has not by then."""
    waiting = {spec.worker_id for planned in plans for spec in all_workers(planned)}
    behind: list[str] = []
    with suppress(TimeoutError):
        async with asyncio.timeout(within):
            while waiting:
                behind = []
                for worker in sorted(waiting):
                    try:
                        status = await ask_worker(client, worker, "status")
                    except TimelineError as error:
                        behind.append(f"{worker}: {error}")
                        continue
                    if (state := status["state"]) is not None and _reached(state["progress"], last):
                        waiting.discard(worker)
                    else:
                        behind.append(
                            f"{worker}: {state and state['progress']}, and the last are {dict(last)}"
                        )
                if waiting:
                    await asyncio.sleep(LOOK_SECONDS)
    return behind if waiting else []


def _reached(progress: list[dict[str, Any]], last: Mapping[int, tuple[int, int, int]]) -> bool:
    reached = {p["partition"]: (p["major"], p["minor"]) for p in progress}
    return all(
        reached.get(p, (-1, -1)) >= (ledger, entry * 2**16 + index)
        for p, (ledger, entry, index) in last.items()
    )


async def _compare(
    options: Options,
    stack: Stack,
    client: Client,
    plans: list[Plan],
    judged: Mapping[str, Judged],
    messages: Mapping[Place, Message],
    finals: list[Final],
    found: Differences,
    report: Report,
    tell: Tell,
) -> None:
    begun = monotonic()
    due = {place for one in judged.values() for place in one.refused}

    def complete(letters: Mapping[Place, pulsar.Message]) -> str | None:
        told = {(m.properties()["partition"], m.properties()["position"]) for m in letters.values()}
        missing = [place for place in due if (str(place.partition), place.text) not in told]
        return f"{len(missing):,} letters are missing, such as that of {missing[0]}" if missing else None

    dead = await asyncio.to_thread(_read_anyway, stack.pulsar_url, f"{TOPIC}-dead-letter", complete)
    report.letters = len(dead)
    report.letters_twice = account_for(map(Letter.of, dead.values()), judged, messages, found)
    for planned in plans:
        name = planned.metric.name
        comparison = Comparison(client, planned, judged[name], TOPIC_PARTITIONS, options.seed, found)
        trouble = ""
        try:
            await comparison.run()
            if not is_global(planned.result):
                await comparison.finals(finals)
        except TimelineError as error:
            trouble = f"{name}: {error}"
        found.check("workers answer", not trouble, trouble)
    report.workers = await _statuses(client, plans, judged, found)
    tell(f"compared in {monotonic() - begun:.0f} s: {dict(found.compared)}")


def _read_anyway(
    url: str, topic: str, complete: Callable[[Mapping[Place, pulsar.Message]], str | None]
) -> dict[Place, pulsar.Message]:
    """What is in the topic, also when something is missing: that is then a difference."""
    held: dict[Place, pulsar.Message] = {}

    def keep(found: dict[Place, pulsar.Message]) -> str | None:
        held.update(found)
        return complete(found)

    with suppress(Incomplete):
        read_topic(url, topic, keep)
    return held


async def _statuses(
    client: Client, plans: list[Plan], judged: Mapping[str, Judged], found: Differences
) -> dict[str, Any]:
    """Totals of what the workers say of themselves, and whether it is right."""
    totals: Counter[str] = Counter()
    metric_of = {spec.worker_id: planned.metric.name for planned in plans for spec in all_workers(planned)}
    for worker, metric in sorted(metric_of.items()):
        try:
            status = await ask_worker(client, worker, "status")
        except TimelineError as error:
            found.check("workers answer", False, f"{worker}: {error}")
            continue
        state, refused = status["state"], judged[metric].refused.values()
        for name in ("runs", "refused", "archives"):
            totals[name] += status[name]
        totals["workers"] += 1
        totals["repeated"] += state["repeated"]
        late = sum(reason == "late" for reason in refused)
        counted, right = (state["late"], state["refused"]), (late, len(refused) - late)
        found.check("counts of late and refused", counted == right, f"{worker}: {counted}, {right} is right")
        too_late = state.get("too_late")
        found.check("leaves are told nothing too late", not too_late, f"{worker}: {too_late}")
        words = f"{worker}: {status['last_refusal']}"
        found.check("workers refuse nothing", not status["refused"], words)
        found.check("workers are ready", status["ready"], f"{worker}: {status['inputs']}")
    totals["keys in archives"] = found.archived
    return dict(totals)
