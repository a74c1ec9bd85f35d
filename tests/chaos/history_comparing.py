"""Holding the history store against what the broker holds and what follows from it.

Events and verdicts, one by one; every stored timeline, and every one that is computed from stored events,
against the oracle, with which the workers' answers are compared, too (``comparing``); gaps; stamps; and what
was known at times during the run.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set as AbstractSet
from fractions import Fraction
from time import monotonic

from tests.chaos import expected
from tests.chaos.comparing import INNER_KEYS, Differences
from tests.chaos.judging import Judged, Message, Place, by_key
from tests.chaos.recording import Recorded, twice
from tests.oracle.events import Event
from tests.oracle.oracle import Pieces, timeline
from timeline_workers.events.times import EARLIEST, LATEST
from timeline_workers.history.computed import Computed, compute
from timeline_workers.history.model import Outcome, Piece, Position, StoredEvent, definition_of
from timeline_workers.history.store import HistoryStore
from timeline_workers.language import tree
from timeline_workers.language.parser import parse
from timeline_workers.plan.history_workers import stored_name, stored_nodes
from timeline_workers.plan.physical import NodeSpec, Plan, is_global
from timeline_workers.plan.reading import reading_of

# What waits when the load ends is stored within this.
BEHIND_SECONDS = 120.0
LOOK_SECONDS = 1.0
PAGE = 20_000
INSTANTS = 40  # of each aggregate

Name = tuple[type, str | int]


async def compare_history(
    recorded: Recorded,
    plans: Sequence[Plan],
    judged: Mapping[str, Judged],
    messages: Mapping[Place, Message],
    seed: int,
    found: Differences,
) -> dict[str, int]:
    """Compare everything, once the store has caught up; returns how much it holds."""
    until = monotonic() + BEHIND_SECONDS
    while True:
        own = Differences()
        async with recorded.store() as store:
            totals = await _events(store, plans, judged, messages, own)
            rng = random.Random(f"history {seed}")
            for planned in plans:
                await _timelines(store, planned, judged[planned.metric.name], rng, own)
        if not own.count or monotonic() > until:
            break
        await asyncio.sleep(LOOK_SECONDS)
    stamps = await recorded.stamps()
    for odd in twice(stamps):
        own.check("stamps are stored once", False, odd)
    own.compared["stamps are stored once"] += sum(map(len, stamps.values()))
    for odd in await recorded.as_then():
        own.check("history as known then", False, odd)
    own.compared["history as known then"] += sum(len(pieces) for _, _, pieces in recorded.then)
    found.compared += own.compared
    found.count += own.count
    found.shown += own.shown
    return {**totals, "writers of revisions": len(stamps), "appends": sum(map(len, stamps.values()))}


def _position(place: Place) -> Position:
    ledger, entry, index = place.at
    return Position(place.partition, ledger, entry * 2**16 + index)


async def _events(
    store: HistoryStore,
    plans: Sequence[Plan],
    judged: Mapping[str, Judged],
    messages: Mapping[Place, Message],
    found: Differences,
) -> dict[str, int]:
    """Every message is there once, with its payload, and has one verdict for each definition."""
    topic, wanted = plans[0].metric.source.topic, {_position(p): m for p, m in messages.items()}
    stored: Counter[Position] = Counter()
    for partition in {position.partition for position in wanted}:
        after: tuple[int, int] | None = None
        while page := await store.raw_events(topic, partition, after=after, limit=PAGE):
            for one in page:
                stored[one.position] += 1
                message = wanted.get(one.position)
                whole = message is not None and message.payload == one.payload
                found.check("events are stored as sent", whole, f"{one.position} holds {one.payload!r:.100}")
            after = page[-1].position[1:]
    for position in wanted:
        found.check("events are stored once", stored[position] == 1, f"{position}: {stored[position]} times")
    status, verdicts = await store.status(), 0
    counted = {one.definition: one.outcomes for one in status.definitions}
    for definition, metric in {definition_of(reading_of(p.metric)): p.metric.name for p in plans}.items():
        one = judged[metric]
        of = Counter(_outcome(reason) for reason in one.refused.values())
        of[Outcome.ACCEPTED] = len(one.accepted)
        words = f"{metric}: {dict(counted.get(definition, {}))}, and {dict(of)} are right"
        right = {o: n for o, n in of.items() if n}
        found.check("numbers of verdicts", dict(counted.get(definition, {})) == right, words)
        timed = await store.events(definition, EARLIEST, LATEST + 1, outcomes=frozenset(Outcome))
        _verdicts(metric, timed, one, messages.keys(), found)
        verdicts += sum(of.values())
    for gap in status.gaps:
        found.check("gaps are recorded where there are some", False, f"{gap}, and nothing is missing")
    return {"events": stored.total(), "verdicts": verdicts, "change points": status.rows}


def _outcome(reason: str) -> Outcome:
    return Outcome.LATE if reason == "late" else Outcome.REFUSED


def _verdicts(
    metric: str, timed: Sequence[StoredEvent], judged: Judged, places: AbstractSet[Place], found: Differences
) -> None:
    refused = {_position(place): reason for place, reason in judged.refused.items()}
    accepted = {Position(*event.position): event for event in judged.accepted}
    seen: Counter[Position] = Counter()
    for one in timed:
        seen[one.position] += 1
        event, reason = accepted.get(one.position), refused.get(one.position)
        if event is not None:
            right = (Outcome.ACCEPTED, event.key, event.time) == (one.outcome, one.key, one.time)
            right = right and type(event.key) is type(one.key)
        else:
            right = reason is not None and (one.outcome, one.reason) == (_outcome(reason), reason)
        found.check("verdicts", right, f"{metric}: {one}, and {event or reason} is right")
    for position in accepted:
        words = f"{metric}: {position} {seen[position]} times"
        found.check("accepted events have one verdict", seen[position] == 1, words)
    for position in refused:  # what has no time is in no window; its number is compared
        found.check("verdicts are there once", seen[position] <= 1, f"{metric}: {position}")
    assert len(accepted) + len(refused) == len(places)


async def _timelines(
    store: HistoryStore, planned: Plan, judged: Judged, rng: random.Random, found: Differences
) -> None:
    """What is stored of each node, and what is computed of it from stored events."""
    metric, events = planned.metric, by_key(judged.accepted)
    computed = await compute(store, metric.expression, metric.source, keys=None)
    stored = {node.name for node in stored_nodes(planned)}
    for node in planned.nodes:
        if is_global(node):
            await _groups(store, planned, node, computed, events, rng, found)
            continue
        names = list(events)
        if node is not planned.result:
            names = rng.sample(names, min(INNER_KEYS, len(names)))
        expression = parse(node.expression)
        right = {name: timeline(expression, events[name], name[1]) for name in names}
        ways = {"computed": computed.pieces(node.expression, EARLIEST, LATEST + 1)}
        if node.name in stored:
            ways["stored"] = await store.pieces([stored_name(planned, node)], EARLIEST, LATEST + 1)
        for way, pieces in ways.items():
            by_name: dict[Name, list[Piece]] = defaultdict(list)
            for piece in pieces:
                assert isinstance(piece.key, str | int)
                by_name[type(piece.key), piece.key].append(piece)
            odd = by_name.keys() ^ events.keys()
            words = f"{metric.name}, {node.name}: {len(odd)} differ: {sorted(map(str, odd))[:3]}"
            found.check(f"keys in the history, {way}", not odd, words)
            for name in names:
                same = _same(by_name[name], right[name])
                words = f"{metric.name}, {node.name}, {name}: {by_name[name]}, and {right[name]} is right"
                found.check(f"timelines in the history, {way}", same, words)


def _same(pieces: Sequence[Piece], right: Pieces) -> bool:
    """Whether these are the same stretches, with exact values and slopes."""
    ends = [*(piece.start for piece in right[1:]), None]
    return len(pieces) == len(right) and all(
        (one.start, one.until) == (other.start, end)
        and type(one.value) is type(other.value)
        and one.value == other.value
        and (one.slope or Fraction(0)) == other.slope
        for one, other, end in zip(pieces, right, ends, strict=True)
    )


async def _groups(
    store: HistoryStore,
    planned: Plan,
    node: NodeSpec,
    computed: Computed,
    events: Mapping[Name, list[Event]],
    rng: random.Random,
    found: Differences,
) -> None:
    expression = parse(node.expression)
    assert isinstance(expression, tree.Aggregate)
    column = tree.LatestEventToState(column=expression.group_by)
    members = {name: timeline(column, own, name[1]) for name, own in events.items()}
    values = {name: timeline(expression.of, own, name[1]) for name, own in events.items()}
    starts = sorted({p.start for own in (*members.values(), *values.values()) for p in own})
    at = sorted(rng.sample(starts, min(INSTANTS, len(starts))))
    right = {t: expected.aggregated(expression.functions, members, values, t) for t in at}
    for function in expression.functions:
        name = stored_name(planned, node, function)
        stored = _told(await store.pieces([name], EARLIEST, LATEST + 1))
        own = _told(computed.pieces(node.expression, EARLIEST, LATEST + 1, function=function))
        found.check(
            "groups in the history",
            stored == own,
            f"{name}: {len(stored)} pieces are stored and {len(own)} computed; {stored[:2]} and {own[:2]}",
        )
        for instant in at:
            holding = await store.snapshot([name], instant)
            given = {(type(p.key), p.key): _at(p, instant) for p in holding}
            for group, functions in right[instant].items():
                value = functions[function]
                same = group in given and given[group] == value
                words = f"{name} of {group} at {instant}: {given.get(group)}, and {value} is right"
                found.check("aggregates in the history", same, words)


def _told(pieces: Iterable[Piece]) -> list[tuple[object, ...]]:
    return [(p.key, p.start, p.until, p.value, p.slope) for p in pieces]


def _at(piece: Piece, instant: int) -> object:
    if piece.slope is None or not isinstance(piece.value, Fraction):
        return piece.value
    return piece.value + piece.slope * Fraction(instant - piece.start, expected.SECOND)
