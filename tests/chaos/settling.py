"""The end of a run: what the broker holds is judged, waited for, and held against every answer."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

import pulsar
from temporalio.client import Client

from tests.chaos.asking import Final
from tests.chaos.comparing import Comparison, Differences, Letter, account_for
from tests.chaos.history_comparing import compare_history
from tests.chaos.judging import Judged, Message, Place, judge
from tests.chaos.recording import Recorded
from tests.chaos.stacks import TOPIC, Stack
from tests.chaos.stored import Incomplete, as_message, hole, read_topic
from tests.chaos.traffic import END
from timeline_workers.errors import TimelineError
from timeline_workers.plan.physical import Plan, all_workers, is_global
from workflows.client.ask_worker import ask_worker

LOOK_SECONDS = 0.25

Tell = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class Confirmed:
    """A message that the broker has said it stored, ``at`` so many seconds of the monotonic clock."""

    place: Place
    at: float


def confirmed(file: Path, begin: int = 0, recreated: Sequence[float] = ()) -> tuple[list[Confirmed], int]:
    """What a producer has written down since byte ``begin``, and where to read on: the last line may not be
    whole. ``recreated``: when the topic has begun again.
    """
    with suppress(FileNotFoundError), file.open("rb") as lines:
        lines.seek(begin)
        whole, newline, _ = lines.read().rpartition(b"\n")
        found = []
        for line in whole.decode().splitlines():
            _, partition, ledger, entry, index, at = line.split()
            place = Place(int(partition), (int(ledger), int(entry), int(index)))
            incarnation = sum(time < float(at) for time in recreated)
            found.append(Confirmed(place.in_incarnation(incarnation), float(at)))
        return found, begin + len(whole) + len(newline)
    return [], begin


def _nothing(_: Mapping[Place, Message]) -> set[Place]:
    return set()


@dataclass(frozen=True)
class Ending:
    """What is held against what in the end.

    ``places``: the producers' files; ``sent``: all payloads there may be (None: not checked); ``kept``:
    messages that were stored and are no longer in the topic; ``recreated``: when it has begun again, its
    places, too; ``lost``: which messages may be missing in the answers, by the fault's own account;
    ``later``: metrics that were applied under load; ``forgotten``: per metric, keys that are not compared;
    ``letterless``: messages whose dead letters may be gone; ``counts``: workers' counts of late and refused
    events are compared, too; ``may_miss``: the topic may lack messages that the broker confirmed;
    ``recorded``: the history, which is compared as well.
    """

    stack: Stack
    client: Client
    plans: Sequence[Plan]
    seed: int
    places: Sequence[Path]
    partitions: int
    drain: float
    sent: frozenset[bytes] | None = None
    kept: Mapping[Place, Message] = field(default_factory=dict)
    lost: Callable[[Mapping[Place, Message]], set[Place]] = _nothing
    recreated: Sequence[float] = ()
    later: AbstractSet[str] = frozenset()
    forgotten: Mapping[str, AbstractSet[tuple[type, str | int]]] = field(default_factory=dict)
    letterless: AbstractSet[Place] = frozenset()
    counts: bool = True
    may_miss: bool = False
    recorded: Recorded | None = None


@dataclass(slots=True)
class Settled:
    """The outcome: see ``harness.Report`` for the fields."""

    stored: int = 0
    lost: int = 0
    accepted: dict[str, int] = field(default_factory=dict)
    refused: dict[str, dict[str, int]] = field(default_factory=dict)
    letters: int = 0
    letters_twice: int = 0
    drain_seconds: float = 0.0
    compared: dict[str, int] = field(default_factory=dict)
    differences: dict[str, int] = field(default_factory=dict)
    shown: list[str] = field(default_factory=list)
    workers: dict[str, Any] = field(default_factory=dict)
    history: dict[str, int] = field(default_factory=dict)


async def settle(ending: Ending, finals: Sequence[Final], tell: Tell) -> Settled:
    """Wait until everything is applied, and compare all that can be asked."""
    found, settled = Differences(), Settled()
    messages = {**ending.kept, **await asyncio.to_thread(_truth, ending)}
    settled.stored = len(messages)
    if ending.sent is not None:
        strange = {m.payload for m in messages.values()} ^ ending.sent
        found.check("payloads are what was sent", not strange, f"{len(strange)} are not")
    lost = ending.lost(messages)
    known = {one.place for file in ending.places for one in confirmed(file, 0, ending.recreated)[0]}
    settled.lost = len(lost) + len(known - messages.keys())
    judged = _judge(ending.plans, {place: m for place, m in messages.items() if place not in lost})
    for name, one in judged.items():
        settled.accepted[name] = len(one.accepted)
        settled.refused[name] = dict(Counter(one.refused.values()))
    tell(f"stored: {len(messages):,}; accepted {settled.accepted}")
    begun = monotonic()
    held = [place for place in messages if place not in lost]
    last = {p: max(m.at for m in held if m.partition == p) for p in {m.partition for m in held}}
    missing = await _applied(ending.client, ending.plans, last, ending.drain)
    settled.drain_seconds = round(monotonic() - begun, 1)
    words = f"not applied after {ending.drain:.0f} s: {missing}"
    found.check("everything is applied in time", not missing, words)
    await _compare(ending, judged, messages, finals, found, settled, tell)
    settled.compared, settled.differences = dict(found.compared), dict(found.count)
    settled.shown += found.shown
    return settled


def _truth(ending: Ending) -> dict[Place, Message]:
    known = {
        one.place for file in ending.places for one in confirmed(file, 0, ending.recreated)[0]
    } - ending.kept.keys()

    now = len(ending.recreated)

    def complete(found: Mapping[Place, pulsar.Message]) -> str | None:
        missing = known - {place.in_incarnation(now) for place in found}
        if missing and not ending.may_miss:
            return f"{len(missing):,} confirmed messages are missing, such as {min(missing, key=str)}"
        ended = {place.partition for place, message in found.items() if message.data() == END}
        if len(ended) < ending.partitions:
            return f"only partitions {sorted(ended)} have an end mark"
        return None if ending.kept or ending.may_miss else hole(found)

    found = read_topic(ending.stack.pulsar_url, TOPIC, complete)
    places = {place.in_incarnation(now): message for place, message in found.items()}
    return {place: as_message(place, message) for place, message in places.items()}


def _judge(plans: Sequence[Plan], messages: Mapping[Place, Message]) -> dict[str, Judged]:
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
    client: Client, plans: Sequence[Plan], last: Mapping[int, tuple[int, int, int]], within: float
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
                    if (state := status["state"]) is not None and reached(state["progress"], last):
                        waiting.discard(worker)
                    else:
                        behind.append(
                            f"{worker}: {state and state['progress']}, and the last are {dict(last)}"
                        )
                if waiting:
                    await asyncio.sleep(LOOK_SECONDS)
    return behind if waiting else []


def reached(progress: Sequence[Mapping[str, Any]], last: Mapping[int, tuple[int, int, int]]) -> bool:
    """Whether a worker's ``progress`` is at or after the place that is given of every partition."""
    where = {p["partition"]: (p["major"], p["minor"]) for p in progress}
    return all(
        where.get(p, (-1, -1)) >= (ledger, entry * 2**16 + index)
        for p, (ledger, entry, index) in last.items()
    )


async def _compare(
    ending: Ending,
    judged: Mapping[str, Judged],
    messages: Mapping[Place, Message],
    finals: Sequence[Final],
    found: Differences,
    settled: Settled,
    tell: Tell,
) -> None:
    begun = monotonic()
    due = {place for name, one in judged.items() if name not in ending.later for place in one.refused}
    due -= ending.letterless

    def complete(letters: Mapping[Place, pulsar.Message]) -> str | None:
        told = {(m.properties()["partition"], m.properties()["position"]) for m in letters.values()}
        missing = [place for place in due if (str(place.partition), place.text) not in told]
        return f"{len(missing):,} letters are missing, such as that of {missing[0]}" if missing else None

    dead = await asyncio.to_thread(_read_anyway, ending.stack.pulsar_url, f"{TOPIC}-dead-letter", complete)
    settled.letters = len(dead)
    letters = map(Letter.of, dead.values())
    settled.letters_twice = account_for(letters, judged, messages, found, ending.later, ending.letterless)
    for planned in ending.plans:
        name = planned.metric.name
        comparison = Comparison(ending.client, planned, judged[name], ending.partitions, ending.seed, found)
        comparison.forgotten = ending.forgotten.get(name, frozenset())
        calls = [comparison.run]
        if not is_global(planned.result):
            calls.append(partial(comparison.finals, finals))
        for call in calls:
            trouble = ""
            try:
                await call()
            except TimelineError as error:
                trouble = f"{name}: {error}"
            found.check("workers answer", not trouble, trouble)
    settled.workers = await _statuses(ending, judged, found)
    if ending.recorded is not None:
        settled.history = await compare_history(
            ending.recorded, ending.plans, judged, messages, ending.seed, found
        )
        tell(f"history: {settled.history}")
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


async def _statuses(ending: Ending, judged: Mapping[str, Judged], found: Differences) -> dict[str, Any]:
    """Totals of what the workers say of themselves, and whether it is right."""
    totals: Counter[str] = Counter()
    metric_of = {
        spec.worker_id: planned.metric.name for planned in ending.plans for spec in all_workers(planned)
    }
    for worker, metric in sorted(metric_of.items()):
        try:
            status = await ask_worker(ending.client, worker, "status")
        except TimelineError as error:
            found.check("workers answer", False, f"{worker}: {error}")
            continue
        state, refused = status["state"], judged[metric].refused.values()
        for name in ("runs", "refused", "archives"):
            totals[name] += status[name]
        totals["workers"] += 1
        totals["repeated"] += state["repeated"]
        if ending.counts:
            late = sum(reason == "late" for reason in refused)
            counted, right = (state["late"], state["refused"]), (late, len(refused) - late)
            found.check(
                "counts of late and refused", counted == right, f"{worker}: {counted}, {right} is right"
            )
            words = f"{worker}: {status['last_refusal']}"
            found.check("workers refuse nothing", not status["refused"], words)
        too_late = state.get("too_late")
        found.check("leaves are told nothing too late", not too_late, f"{worker}: {too_late}")
        found.check("workers are ready", status["ready"], f"{worker}: {status['inputs']}")
    totals["keys in archives"] = found.archived
    return dict(totals)
