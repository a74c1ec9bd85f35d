"""Holding what the workers answer, and the dead letters, against what is expected."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set as AbstractSet
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pulsar
from temporalio.client import Client

from tests.chaos import expected
from tests.chaos.asking import Final
from tests.chaos.judging import Judged, Message, Place, by_key
from tests.oracle.events import Event
from tests.oracle.numbers import Value
from tests.oracle.oracle import Pieces, timeline, without_events
from timeline_workers.language import tree
from timeline_workers.language.parser import parse
from timeline_workers.plan.physical import (
    NodeSpec,
    Plan,
    about,
    is_global,
    partition_labels,
    partition_of,
    worker_id,
    worker_name,
)
from workflows.client.ask import worker_of
from workflows.client.ask_keys import Holder, ask_keys, holders
from workflows.client.ask_worker import ask_worker, gather

KEYS_AT_ONCE = 50
INSTANTS = 30  # per bunch of keys; the spans over the whole run leave nothing out anyway
GROUP_INSTANTS = 150
INNER_KEYS = 150  # of each node that is not the result
SHOWN = 10

Key = str | int


@dataclass(slots=True)
class Differences:
    """How many things were compared, and what differed, in words; of these only some are kept.

    ``archived``: how many keys of nodes were found in archives.
    """

    compared: Counter[str] = field(default_factory=Counter)
    count: Counter[str] = field(default_factory=Counter)
    shown: list[str] = field(default_factory=list)
    archived: int = 0

    def check(self, what: str, right: bool, words: str) -> None:
        """Count one comparison; ``words`` describe it where it is not ``right``."""
        self.compared[what] += 1
        if not right:
            self.count[what] += 1
            if self.count[what] <= SHOWN:
                self.shown.append(f"{what}: {words}")


class Comparison:
    """One metric against its source's judged events. ``partitions``: of the topic; ``forgotten``: keys that
    are not compared.
    """

    def __init__(
        self, client: Client, planned: Plan, judged: Judged, partitions: int, seed: int, found: Differences
    ) -> None:
        self._client, self._plan, self._found = client, planned, found
        self._events = by_key(judged.accepted)
        self._watermark = judged.watermark(partitions)
        self._rng = random.Random(f"instants {seed}")
        times = [event.time for event in judged.accepted]
        self.forgotten: AbstractSet[tuple[type, Key]] = frozenset()
        self._range = (min(times) - 10_000_000, max(times) + 600_000_000)

    async def run(self) -> None:
        """Compare every key of every node, questions of all kinds for the result's."""
        for node in self._plan.nodes:
            if is_global(node):
                await self._aggregate(node)
                continue
            keys = [key for _, key in self._events]
            result = node is self._plan.result
            if not result:
                keys = self._rng.sample(keys, min(INNER_KEYS, len(keys)))
            expression = parse(node.expression)
            for label in partition_labels(self._plan):
                own = {key for key in keys if partition_of(key, self._plan.metric.source) == label}
                for holder in await self._holders(node, label):
                    held = [key for key in holder.keys if key in own]
                    bunches = [held[i : i + KEYS_AT_ONCE] for i in range(0, len(held), KEYS_AT_ONCE)]
                    await gather(
                        [partial(self._bunch, node, expression, holder, bunch, result) for bunch in bunches]
                    )

    async def finals(self, finals: Sequence[Final]) -> None:
        """What was called final during the run must be what the truth says in the end."""
        expression = parse(self._plan.metric.expression)
        own = [f.answer for f in finals if f.metric == self._plan.metric.name]
        by_name: dict[tuple[type, Key], list[dict[str, Any]]] = defaultdict(list)
        for answer in own:
            by_name[type(answer["key"]), answer["key"]].append(answer)
        for name, answers in by_name.items():
            pieces = timeline(expression, self._events.get(name, []), name[1])
            for answer in answers:
                right = expected.value_at(pieces, self._plan.result.kind, name[1], answer["at"], None)
                # How long it holds may become known later; what it is may not change.
                same = all(_same(answer.get(f), right.get(f)) for f in ("value", "since", "slope"))
                self._found.check("final answers", same, f"{answer}, and the truth is {right}")

    async def _holders(self, node: NodeSpec, label: str) -> list[Holder]:
        """The worker of ``node`` and its archives; together they must know exactly the keys that have
        events."""
        worker = worker_id(worker_name(self._plan, node), label)
        found = await holders(self._client, worker, about(self._plan, node).get("node"))
        names = Counter((type(key), key) for holder in found for key in holder.keys)
        source = self._plan.metric.source
        wanted = Counter(name for name in self._events if partition_of(name[1], source) == label)
        for name in self.forgotten:
            del names[name], wanted[name]
        odd = [name for _, name in ((names - wanted) + (wanted - names))]
        self._found.check("keys of workers", not odd, f"{worker} differs in {len(odd)} keys: {odd[:5]}")
        self._found.archived += sum(len(holder.keys) for holder in found[1:])
        return [
            Holder(h.workflow_id, [k for k in h.keys if (type(k), k) in wanted], h.watermark) for h in found
        ]

    async def _bunch(
        self, node: NodeSpec, expression: tree.Expression, holder: Holder, keys: list[Key], result: bool
    ) -> None:
        events = {key: self._events[type(key), key] for key in keys}
        pieces = {key: timeline(expression, own, key) for key, own in events.items()}
        low, high = self._range
        kind, mark, worker = node.kind, self._watermark, holder.workflow_id
        asked = about(self._plan, node)
        for key, answer in await self._ask(holder, "spans", keys, {**asked, "start": low, "end": high}):
            right = expected.spans(pieces[key], kind, key, low, high, mark)
            self._judge(f"spans of {_whose(result)}", worker, answer, right, events[key])
        if not result:
            return
        at = self._instants(pieces)
        for key, answer in await self._ask(holder, "value_at", keys, {**asked, "at": at}, len(at)):
            right = expected.value_at(pieces[key], kind, key, answer["at"], mark)
            self._judge("values", worker, answer, right, events[key])
        start, end = sorted(self._rng.choices(at, k=2))
        if kind in ("numeric", "boolean"):
            nothing = without_events(expression)
            for key, answer in await self._ask(holder, "change", keys, {**asked, "start": start, "end": end}):
                right = expected.change(pieces[key], kind, key, start, end, mark, nothing)
                self._judge("changes", worker, answer, right, events[key])

    def _instants(self, pieces: Mapping[Key, Pieces]) -> list[int]:
        """Instants at which some of the keys change, the microseconds before, and any others."""
        starts = [piece.start for own in pieces.values() for piece in own]
        chosen = self._rng.choices(starts, k=INSTANTS // 2)
        near = [t - self._rng.randrange(2) for t in chosen]
        if self._watermark is not None:
            near += [self._watermark, self._watermark - 1]
        return near + [self._rng.randint(*self._range) for _ in range(INSTANTS - len(near))]

    async def _ask(
        self, holder: Holder, query: str, keys: list[Key], details: dict[str, Any], each: int = 1
    ) -> list[tuple[Key, dict[str, Any]]]:
        answers = await ask_keys(self._client, holder, query, {"unit": "us", **details}, keys)
        names = [key for key in keys for _ in range(each)]
        right = len(answers) == len(names)
        words = f"{holder.workflow_id}: {len(answers)} answers for {len(names)}"
        self._found.check("replies", right, words)
        return list(zip(names, answers, strict=False))

    def _judge(
        self, what: str, worker: str, answer: Mapping[str, Any], right: Mapping[str, Any], events: list[Event]
    ) -> None:
        same = answer.keys() == right.keys() and all(_same(answer[f], right[f]) for f in right)
        if not same and self._found.count[what] < SHOWN:
            odd = {
                f: (answer.get(f), right.get(f))
                for f in {*answer, *right}
                if not _same_field(answer, right, f)
            }
            story = "\n".join(f"    {e.time} {e.position} {e.columns}" for e in events)
            self._found.check(what, same, f"{worker}: {answer} (found, right): {odd}; its events:\n{story}")
        else:
            self._found.check(what, same, "")

    async def _aggregate(self, node: NodeSpec) -> None:
        expression = parse(node.expression)
        assert isinstance(expression, tree.Aggregate)
        column = tree.LatestEventToState(column=expression.group_by)
        members = {n: timeline(column, own, n[1]) for n, own in self._events.items()}
        values = {n: timeline(expression.of, own, n[1]) for n, own in self._events.items()}
        groups = list({(type(p.value), p.value): p.value for own in members.values() for p in own}.values())
        worker = worker_of(self._plan, node, "")
        page = await ask_worker(self._client, worker, "keys", {})
        odd = {(type(g), g) for g in page["keys"]} ^ {(type(g), g) for g in groups}
        self._found.check("keys of workers", not odd, f"{worker} differs in the groups {odd}")
        starts = [p.start for own in (*members.values(), *values.values()) for p in own]
        at = sorted(
            [
                *self._rng.choices(starts, k=GROUP_INSTANTS),
                *(self._rng.randint(*self._range) for _ in range(9)),
            ]
        )
        right = {t: expected.aggregated(expression.functions, members, values, t) for t in at}
        for function in expression.functions:
            for group in groups:
                question = {"key": group, "at": at, "unit": "us", "aggregate": function}
                answers = await ask_worker(self._client, worker, "value_at", question)
                first = min(p.start for own in members.values() for p in own if _same(p.value, group))
                for instant, answer in zip(at, answers, strict=True):
                    empty: Value = 0 if function == "count" and instant >= first else None
                    value = right[instant].get((type(group), group), {}).get(function, empty)
                    final = self._watermark is not None and instant < self._watermark
                    same = _same(answer["value"], expected.plain(value)) and answer["final"] is final
                    self._found.check("aggregates", same, f"{worker}: {answer}, and {value} is right")


@dataclass(frozen=True, slots=True)
class Letter:
    """One dead letter. ``place``: where the event stood in its own topic; ``metrics``: that refused it."""

    place: Place
    key: str
    payload: bytes
    reason: str
    metrics: frozenset[str]

    @staticmethod
    def of(message: pulsar.Message) -> Letter:
        """Read a message of the dead-letter topic."""
        about = message.properties()
        position, _, incarnation = about["position"].partition("#")
        ledger, entry, index = map(int, position.split(":"))
        place = Place(int(about["partition"]), (ledger, entry, index)).in_incarnation(int(incarnation or 0))
        metrics = frozenset(about["metrics"].split(", "))
        return Letter(place, message.partition_key(), message.data(), about["reason"], metrics)


def account_for(
    letters: Iterable[Letter],
    judged: Mapping[str, Judged],
    messages: Mapping[Place, Message],
    found: Differences,
    later: AbstractSet[str] = frozenset(),
    gone: AbstractSet[Place] = frozenset(),
) -> int:
    """Account for the dead letters one by one; returns of how many events there are several.

    ``judged``: per metric; ``later``: those that were applied when some events had been refused for others
    already, of which they need not have a letter; ``gone``: events whose letters the fault may have deleted.
    An event that some metrics refuse has letters that together name exactly these metrics; each holds its
    payload, its key, and the reason of one that it names. Nothing else has a letter.
    """
    refusing: dict[Place, dict[str, str]] = defaultdict(dict)
    for metric, one in judged.items():
        for place, reason in one.refused.items():
            refusing[place][metric] = reason
    told: dict[Place, set[str]] = defaultdict(set)
    seen: Counter[Place] = Counter()
    for letter in letters:
        seen[letter.place] += 1
        told[letter.place] |= letter.metrics
        reasons = refusing.get(letter.place, {})
        due = letter.metrics <= reasons.keys() and bool(letter.metrics)
        found.check("letters are due", due, f"{letter}, and {reasons} refuse it")
        if letter.place in messages:
            original = messages[letter.place]
            whole = (letter.payload, letter.key) == (original.payload, original.key)
            found.check("letters are whole", whole, f"{letter}, and {original} was sent")
        named = letter.reason in {reasons.get(metric) for metric in letter.metrics}
        found.check("reasons", named, f"{letter}, and {reasons} are right")
    for place in refusing.keys() - gone:
        reasons = refusing[place]
        missing = reasons.keys() - told[place] - later
        found.check("refused events have letters", not missing, f"{place} {reasons}, none for {missing}")
    return sum(count > 1 for count in seen.values())


def _whose(result: bool) -> str:
    return "results" if result else "inner nodes"


def _same_field(answer: Mapping[str, Any], right: Mapping[str, Any], field: str) -> bool:
    return field in answer and field in right and _same(answer[field], right[field])


def _same(a: Any, b: Any) -> bool:
    """Equal, and True is not 1. JSON does not tell 1 from 1.0 where a number is exact."""
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(a[k], b[k]) for k in a)
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    return bool(a == b)
