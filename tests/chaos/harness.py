"""One run, from start to reports."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from statistics import quantiles
from time import monotonic
from typing import Any

from temporalio.client import Client

from tests.chaos import schedule
from tests.chaos.asking import Asker, Final
from tests.chaos.faults import ENDING, Faults
from tests.chaos.metrics import LONG_LATENESS, metrics
from tests.chaos.programs import Program, module
from tests.chaos.recording import Recorded, StoreName, add_store
from tests.chaos.settling import Ending, Settled, Tell, settle
from tests.chaos.stacks import TOPIC, Stack
from tests.chaos.traffic import END, EPOCH, span, traffic
from tests.chaos.verdict import verdict
from tests.chaos.watching import Watch, watching
from timeline_workers.plan.physical import Plan, all_workers, is_global, plan
from timeline_workers.servers.temporal.temporal_client import connect
from workflows.client import ask

DRAIN_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Options:
    """What one run does.

    ``drain``: seconds after the load until everything must be applied; ``hand_over``: after so many inputs a
    worker continues as new (None: when Temporal suggests it, which a short run does not live to see);
    ``faults``: of which kinds the kills are (``faults.KINDS``); ``partitions`` of each metric (None: four,
    and once three); ``watch``: each second `timeline get` is held against the truth, and every worker asked;
    ``rounds``: so often all of it is done one after the other, on the same data; ``history``: in which kind
    of store there is one, if in any.
    """

    seed: int
    seconds: float
    events: int
    kills: int
    workers: int = 2
    feeders: int = 1
    drain: float = DRAIN_SECONDS
    hand_over: int | None = 50
    faults: tuple[str, ...] = ("kill",)
    partitions: int | None = None
    watch: bool = False
    rounds: int = 1
    history: StoreName | None = None


@dataclass(slots=True)
class Report:
    """What happened in one round. ``ok``: no difference, no question unanswered, and `get` told no lie."""

    options: dict[str, Any]
    stack: str
    round: int = 0
    kills: list[dict[str, Any]] = field(default_factory=list)
    killed: dict[str, int] = field(default_factory=dict)
    stored: int = 0
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
    get: dict[str, Any] = field(default_factory=dict)
    history: dict[str, int] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether all was as it must be."""
        return not self.differences and not self.questions.get("failed") and not self.get.get("lies")

    def take(self, settled: Settled) -> None:
        """Add what was found in the end."""
        self.shown += settled.shown
        for one in fields(settled):
            if one.name != "shown" and hasattr(self, one.name):
                setattr(self, one.name, getattr(settled, one.name))

    def json(self) -> str:
        """The report as JSON."""
        return json.dumps({"ok": self.ok, **asdict(self)}, indent=2, default=str)


async def run(
    options: Options,
    stacks: AbstractAsyncContextManager[Stack],
    name: str,
    tell: Tell = print,
    reports: Path | None = None,
) -> Report:
    """Run: start, then each round load and kill, drain, compare. Leaves no process behind, however it ends.

    With ``reports`` each round leaves its report there as soon as it is over, and those that have one are not
    run again: the stack must then be the one of before, with its data. Ends with the first round that is not
    as it must be; returns the last.
    """
    done = 0 if reports is None else len(list(reports.glob("round-*.json")))
    report = Report(asdict(options), name, round=done)
    async with stacks as stack:
        recorded = None if options.history is None else Recorded(add_store(stack, options.history))
        configure(stack)
        stack.add_programs(options.workers, options.feeders)
        tell(f"chaos: seed {options.seed} on {name}; logs in {stack.directory / 'logs'}")
        await stack.start()
        async with supervised(stack):
            client = await connect()
            if recorded is not None:
                await recorded.count_stamps()
            plans = [plan(metric) for metric in metrics(TOPIC, options.partitions)]
            for planned in plans:
                await ask.apply(client, planned.metric, continue_as_new_after=options.hand_over)
            for feeder in stack.feeders:
                await feeder.up()
            rounds = Rounds(options, stack)
            for number in range(options.rounds):
                one = rounds.next()
                if number < done:
                    continue
                report = Report(asdict(options), name, round=number)
                await _round(one, client, plans, recorded, report, tell)
                if reports is not None:
                    (reports / f"round-{number:03}.json").write_text(report.json() + "\n")
                if not report.ok:
                    break
    return report


@dataclass(frozen=True, slots=True)
class Round:
    """``seed`` and ``later`` (see ``traffic``) of what is sent; ``places``: the files of this and all before;
    ``sent``: the payloads of all of these.
    """

    options: Options
    stack: Stack
    seed: int
    later: float
    places: list[Path]
    sent: frozenset[bytes]


class Rounds:
    """The rounds of a run, in event time one after the other."""

    def __init__(self, options: Options, stack: Stack) -> None:
        self._options, self._stack = options, stack
        self._later = 0.0
        self._places: list[Path] = []
        self._sent = frozenset([END])

    def next(self) -> Round:
        """The next one."""
        number = len(self._places)
        seed, later = self._options.seed + 1_000_003 * number, self._later
        self._places.append(self._stack.directory / f"places-{number}")
        messages = list(traffic(seed, self._options.events, later))
        self._sent |= {message.payload for message in messages}
        self._later = messages[-1].at - EPOCH + 2 * LONG_LATENESS
        return Round(self._options, self._stack, seed, later, list(self._places), self._sent)


async def _round(
    one: Round, client: Client, plans: list[Plan], recorded: Recorded | None, report: Report, tell: Tell
) -> None:
    options, stack = one.options, one.stack
    async with AsyncExitStack() as looking:
        watch = None
        if options.watch:
            watch = await looking.enter_async_context(watching(client, plans, one.places, everybody=True))
        finals = await _load(one, client, plans, report, tell)
        ending = Ending(
            stack, client, plans, options.seed, one.places, stack.partitions, options.drain, one.sent,
            counts=not ENDING & set(options.faults), recorded=recorded,
        )  # fmt: skip
        report.take(await settle(ending, finals, tell))
    if watch is not None:
        report.get = _gets(watch)
        tell(f"`get`: {report.get}")
    report.cured = stack.cured
    report.ended_by_themselves = {p.name: p.unasked for p in stack.programs.values() if p.unasked}


def _gets(watch: Watch) -> dict[str, Any]:
    found = verdict(watch.shown, watch.facts)
    return {
        "asked": len(watch.shown),
        "longest_s": round(max(one.ended - one.begun for one in watch.shown), 1),
        "questions to workers": watch.asked,
        "unanswered": watch.unanswered,
        "spells in which answers were old": len(found.spells),
        "oldest_s": found.oldest,
        "noticed_s": found.noticed,
        "ok_again_s": found.again,
        "lies": [asdict(lie) for lie in found.lies[:20]],
        "late": found.late[:20],
    }


def configure(stack: Stack, settings: Mapping[str, str] | None = None) -> None:
    """Have this process, which asks, too, and all programs find the servers of ``stack``, under ``settings``.

    What a user has configured elsewhere must not take part.
    """
    for name in [n for n in os.environ if n.startswith(("TEMPORAL_", "TIMELINE_"))]:
        del os.environ[name]
    os.environ.update({**stack.environment, **(settings or {})})


@asynccontextmanager
async def supervised(stack: Stack) -> AsyncIterator[None]:
    """Start again what ends by itself, for the length of the block."""
    supervising = asyncio.create_task(stack.supervise())
    try:
        yield
    finally:
        supervising.cancel()
        with suppress(asyncio.CancelledError):
            await supervising


async def _load(one: Round, client: Client, plans: list[Plan], report: Report, tell: Tell) -> list[Final]:
    options, stack = one.options, one.stack
    workers = sorted({spec.worker_id for planned in plans for spec in all_workers(planned)})
    kills = schedule.draw(
        one.seed, options.seconds, options.kills, list(stack.programs), options.faults, workers
    )
    report.kills = [asdict(kill) for kill in kills]
    tell("kills: " + ", ".join(f"{k.at:g}s {k.kind} {k.target} ({k.away:g}s)" for k in kills))
    producer = stack.program("producer", [
        *module("tests.chaos.producer"), TOPIC, str(one.places[-1]), "--later", str(one.later),
        "--seed", str(one.seed), "--events", str(options.events), "--seconds", str(options.seconds),
    ])  # fmt: skip
    faults = Faults(stack, client, plans, one.seed, options.hand_over)
    asked = [p for p in plans if not is_global(p.result)]
    asker = Asker(client, asked, span(options.events), one.seed, stack.needed, stack.workers, one.later)
    stop = asyncio.Event()
    begun = monotonic()
    asking = asyncio.create_task(asker.run(stop, lambda: min(1.0, (monotonic() - begun) / options.seconds)))
    try:
        producer.start()
        await _inflict_all(faults, kills, begun, report)
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


async def _inflict_all(faults: Faults, kills: list[schedule.Kill], begun: float, report: Report) -> None:
    async def one(kill: schedule.Kill) -> None:
        await faults.inflict(kill)
        what = kill.target if kill.kind == "kill" else kill.kind
        report.killed[what] = report.killed.get(what, 0) + 1

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
