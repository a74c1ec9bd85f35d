"""``ModelStore``: a history store by brute force, to test others against.

A lane is a list with what holds at each instant ``0 … LAST``, after each append: no rows, no indexes. What
was known when, and what changed, is read off these lists.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

from timeline_workers.columns.key_table import Key
from timeline_workers.errors import Code, QuestionError
from timeline_workers.history.model import (
    Appended,
    Changed,
    Changes,
    Contents,
    DefinitionStatus,
    EventCursor,
    Followed,
    Forgotten,
    Gap,
    Group,
    Judged,
    KeysActive,
    NodeStatus,
    Outcome,
    Piece,
    PieceCursor,
    Position,
    RawEvent,
    Reach,
    Revision,
    Scope,
    Stamp,
    Status,
    StoredEvent,
    Value,
    Verdict,
    Writer,
)
from timeline_workers.history.store import ACCEPTED

LAST = 40
Holds = tuple[Value, Fraction | None] | None
Line = list[Holds]
Lane = tuple[str, str]
Row = tuple[int, Holds]


def text(key: Group) -> str:
    return json.dumps(key, ensure_ascii=False)


def _onward(held: Holds, by: int) -> Holds:
    """What holds ``by`` microseconds later if nothing changes."""
    if held is None:
        return None
    value, slope = held
    if value is None or slope is None:
        return held
    assert isinstance(value, Fraction)
    return value + slope * Fraction(by, 1_000_000), slope


def _alike(one: Holds, other: Holds) -> bool:
    return repr(one) == repr(other)


class ModelStore:
    def __init__(self, now: Callable[[], int]) -> None:
        self._now = now
        self.seen = 0
        self.kept_from: int | None = None
        self.kept_of: dict[tuple[str, str], int] = {}  # of a definition, or a node
        self.raw: dict[tuple[str, Position], RawEvent] = {}
        self.topics: dict[str, str] = {}
        self.verdicts: dict[tuple[str, Position], tuple[Verdict, int]] = {}
        self.firsts: dict[tuple[str, Key], int] = {}
        self.marks: dict[str, dict[int, int | None]] = {}
        self.places: dict[str, dict[int, Followed]] = {}
        self.stamps: dict[str, Stamp] = {}
        self.writers: dict[str, tuple[Writer, int | None]] = {}
        self.times: list[int] = [0]  # system times at which lanes were appended to
        self.lanes: dict[Lane, dict[int, Line]] = {}  # by system time
        self.keys: dict[str, Group] = {}
        self.gaps_told: list[Gap] = []

    def _next(self) -> int:
        self.seen = max(self._now(), self.seen + 1)
        return self.seen

    async def append_events(
        self, topic: str, events: Sequence[RawEvent], judged: Sequence[Judged] = (), gaps: Sequence[Gap] = ()
    ) -> Appended:
        there = {position for of, position in self.raw if of == topic} | {e.position for e in events}
        for one in judged:
            if self.topics.get(one.definition, topic) != topic:
                raise QuestionError("another topic")
            if not {v.position for v in one.verdicts} <= there:
                raise QuestionError("no event")
        before = self._all()
        seen = max(self._now(), self.seen + 1)
        for event in events:
            self.raw.setdefault((topic, event.position), event)
        for one in judged:
            self.topics[one.definition] = topic
            for v in one.verdicts:
                self.verdicts.setdefault((one.definition, v.position), (v, seen))
                could = v.outcome is Outcome.ACCEPTED or (v.outcome is Outcome.REFUSED and not v.below)
                if could and v.key is not None and v.time is not None:
                    known = self.firsts.get((one.definition, v.key), v.time)
                    self.firsts[one.definition, v.key] = min(known, v.time)
            marks = self.marks.setdefault(one.definition, {})
            for partition, mark in one.watermarks.items():
                told = [m for m in (marks.get(partition), mark) if m is not None]
                marks[partition] = max(told, default=None)
            places = self.places.setdefault(one.definition, {})
            for partition, at in one.followed.items():
                held = places.get(partition)
                if held is None or at[:2] > held[:2]:
                    places[partition] = at
        self._add_gaps(gaps, seen)
        if self._all() == before:
            return Appended(self.seen, False)
        self.seen = seen
        return Appended(seen, True)

    def _all(self) -> str:
        marks = {name: dict(sorted(of.items())) for name, of in self.marks.items()}
        places = {name: dict(sorted(of.items())) for name, of in self.places.items()}
        told = (self.topics, self.firsts, marks, places, self.gaps_told)
        return repr((len(self.raw), len(self.verdicts), *told))

    def _add_gaps(self, gaps: Sequence[Gap], seen: int) -> None:
        for gap in gaps:
            told = {(g.of, g.since, g.until, g.why) for g in self.gaps_told}
            if (gap.of, gap.since, gap.until, gap.why) not in told:
                self.gaps_told.append(Gap(gap.of, gap.since, gap.until, gap.why, seen))

    async def append_revisions(
        self,
        writer: Writer,
        stamp: Stamp,
        revisions: Sequence[Revision],
        *,
        watermark: int | None = None,
        gaps: Sequence[Gap] = (),
    ) -> Appended:
        if self.stamps.get(writer.name, (-(2**62), 0)) >= stamp:
            return Appended(self.seen, False)
        seen = self._next()
        self.stamps[writer.name] = stamp
        known = self.writers.get(writer.name, (writer, None))[1]
        self.writers[writer.name] = (
            writer,
            max((m for m in (known, watermark) if m is not None), default=None),
        )
        self.times.append(seen)
        for revision in revisions:
            lane = (writer.node, text(revision.key))
            self.keys[lane[1]] = revision.key
            line = list(self._line(lane, seen))
            starts = {start: (value, slope) for start, value, slope in revision.pieces}
            for at in range(max(revision.since, 0), LAST):
                line[at] = starts[at] if at in starts else _onward(line[at - 1] if at else None, 1)
            self.lanes.setdefault(lane, {})[seen] = line
        self._add_gaps(gaps, seen)
        return Appended(seen, True)

    def _line(self, lane: Lane, as_of: int | None) -> Line:
        states = self.lanes.get(lane, {})
        known = [seen for seen in states if as_of is None or seen <= as_of]
        return states[max(known)] if known else [None] * LAST

    def _rows(self, lane: Lane, as_of: int | None) -> list[Row]:
        line = self._line(lane, as_of)
        return [
            (at, line[at])
            for at in range(LAST)
            if line[at] is not None and not _alike(line[at], _onward(line[at - 1], 1) if at else None)
        ]

    def _lanes(self, nodes: Sequence[str], keys: Sequence[Group] | None) -> list[Lane]:
        wanted = None if keys is None else set(map(text, keys))
        return sorted(
            (node, key)
            for node, key in self.lanes
            if node in nodes
            and (wanted is None or key in wanted)
            and any(self._rows((node, key), seen) for seen in self.lanes[node, key])
        )

    def _pieces(self, lane: Lane, as_of: int | None) -> list[Piece]:
        rows = self._rows(lane, as_of)
        ends = [*(at for at, _ in rows[1:]), None][: len(rows)]
        upto = self.seen if as_of is None else as_of
        found = []
        for (start, held), end in zip(rows, ends, strict=True):
            assert held is not None
            there = {seen: self._has(lane, seen, start, held) for seen in self.times}
            absent = [seen for seen, has in there.items() if seen <= upto and not has]
            seen_from = min(seen for seen in self.times if seen > max(absent, default=-1))
            gone = [seen for seen, has in there.items() if seen > upto and not has]
            value, slope = held
            found.append(
                Piece(
                    *lane[:1],
                    self.keys[lane[1]],
                    start,
                    end,
                    value,
                    slope,
                    seen_from,
                    min(gone, default=None),
                )
            )
        return found

    def _has(self, lane: Lane, seen: int, start: int, held: Holds) -> bool:
        return any(at == start and _alike(row, held) for at, row in self._rows(lane, seen))

    def _kept(self, what: str, *names: str) -> int | None:
        found = [self.kept_of.get((what, name)) for name in names]
        return max((kept for kept in (self.kept_from, *found) if kept is not None), default=None)

    def _check(self, start: int, what: str, *names: str) -> None:
        kept = self._kept(what, *names)
        if kept is not None and start < kept:
            raise QuestionError("forgotten", code=Code.NOT_KEPT)

    async def events(
        self,
        definition: str,
        start: int,
        end: int,
        *,
        keys: Sequence[Key] | None = None,
        outcomes: frozenset[Outcome] = ACCEPTED,
        as_of: int | None = None,
        seen_after: int | None = None,
        backwards: bool = False,
        after: EventCursor | None = None,
        limit: int | None = None,
    ) -> list[StoredEvent]:
        self._check(start, "definition", definition)
        found = []
        for v, seen in self._judged(definition, start, end, keys, as_of):
            if v.outcome not in outcomes or (seen_after is not None and seen <= seen_after):
                continue
            raw = self.raw[self.topics[definition], v.position]
            found.append(
                StoredEvent(
                    v.position,
                    raw.payload,
                    raw.published,
                    v.key,
                    v.time,
                    v.outcome,
                    v.reason,
                    v.message,
                    v.below,
                    seen,
                )
            )
        found.sort(key=lambda e: (e.time, e.position), reverse=backwards)
        if after is not None:
            found = [
                e
                for e in found
                if ((e.time, e.position) < after if backwards else (e.time, e.position) > after)
            ]
        return found[:limit]

    def _judged(
        self, definition: str, start: int, end: int, keys: Sequence[Key] | None, as_of: int | None
    ) -> list[tuple[Verdict, int]]:
        wanted = None if keys is None else set(map(text, keys))
        return [
            (v, seen)
            for (of, _), (v, seen) in self.verdicts.items()
            if of == definition
            and v.time is not None
            and start <= v.time < end
            and (wanted is None or text(v.key) in wanted)
            and (as_of is None or seen <= as_of)
        ]

    async def pieces(
        self,
        nodes: Sequence[str],
        start: int,
        end: int,
        *,
        keys: Sequence[Group] | None = None,
        as_of: int | None = None,
        carried: bool = True,
        backwards: bool = False,
        after: PieceCursor | None = None,
        limit: int | None = None,
    ) -> list[Piece]:
        self._check(start, "node", *nodes)
        found = [
            piece
            for lane in self._lanes(nodes, keys)
            for piece in self._pieces(lane, as_of)
            if start <= piece.start < end
            or (
                carried
                and start < end
                and piece.start < start
                and (piece.until is None or piece.until > start)
            )
        ]
        order = {id(p): (p.start, p.node, text(p.key)) for p in found}
        found.sort(key=lambda p: order[id(p)], reverse=backwards)
        if after is not None:
            last = (after.start, after.node, text(after.key))
            found = [p for p in found if (order[id(p)] < last if backwards else order[id(p)] > last)]
        return found[:limit]

    async def snapshot(
        self,
        nodes: Sequence[str],
        at: int,
        *,
        keys: Sequence[Group] | None = None,
        as_of: int | None = None,
        limit: int | None = None,
    ) -> list[Piece]:
        self._check(at, "node", *nodes)
        return [
            piece
            for lane in self._lanes(nodes, keys)
            for piece in self._pieces(lane, as_of)
            if piece.start <= at and (piece.until is None or piece.until > at)
        ][:limit]

    async def keys_active(
        self, definition: str, start: int, end: int, *, as_of: int | None = None, limit: int = 200
    ) -> KeysActive:
        self._check(start, "definition", definition)
        judged = self._judged(definition, start, end, None, as_of)
        many = Counter(text(v.key) for v, _ in judged if v.outcome is Outcome.ACCEPTED)
        busiest = sorted(many.items(), key=lambda item: (-item[1], item[0]))
        return KeysActive(len(many), [(json.loads(key), count) for key, count in busiest[:limit]])

    async def density(
        self,
        definition: str,
        start: int,
        end: int,
        buckets: int,
        *,
        keys: Sequence[Key] | None = None,
        as_of: int | None = None,
    ) -> Mapping[Outcome, list[int]]:
        if buckets < 1 or end <= start:
            raise QuestionError("no parts")
        self._check(start, "definition", definition)
        width = (end - start + buckets - 1) // buckets
        found: dict[Outcome, list[int]] = {}
        for v, _ in self._judged(definition, start, end, keys, as_of):
            assert v.time is not None
            found.setdefault(v.outcome, [0] * buckets)[(v.time - start) // width] += 1
        return found

    async def origins(self, definition: str, keys: Sequence[Key] | None) -> Mapping[Key, int]:
        return {
            key: first
            for (of, key), first in self.firsts.items()
            if of == definition and (keys is None or text(key) in set(map(text, keys)))
        }

    async def followed(self, definition: str) -> Mapping[int, Followed]:
        return dict(sorted(self.places.get(definition, {}).items()))

    async def unfollow(self, definitions: Sequence[str]) -> int:
        found = [self.places[name] for name in set(definitions) if name in self.places]
        many = sum(map(len, found))
        for places in found:
            places.clear()
        return many

    async def raw_events(
        self, topic: str, partition: int, *, after: tuple[int, int] | None = None, limit: int
    ) -> list[RawEvent]:
        found = sorted(
            (
                event
                for (of, at), event in self.raw.items()
                if of == topic and at.partition == partition and (after is None or at[1:] > after)
            ),
            key=lambda event: event.position,
        )
        return found[:limit]

    async def gaps(self, of: str) -> list[Gap]:
        return [gap for gap in self.gaps_told if gap.of == of]

    async def reach(self, definition: str) -> Reach | None:
        if definition not in self.topics:
            return None
        times = [
            v.time
            for (of, _), (v, _) in self.verdicts.items()
            if of == definition and v.outcome is Outcome.ACCEPTED and v.time is not None
        ]
        first, last = min(times, default=None), max(times, default=None)
        mark, kept = self._mark(definition), self._kept("definition", definition)
        return Reach(self.topics[definition], self.seen, first, last, mark, kept)

    def _mark(self, definition: str) -> int | None:
        marks = list(self.marks[definition].values())
        return None if None in marks else min((m for m in marks if m is not None), default=None)

    async def changed_since(
        self,
        nodes: Sequence[str],
        seen: int,
        *,
        keys: Sequence[Group] | None = None,
        until: int | None = None,
        limit: int | None = None,
    ) -> Changes:
        upto = self.seen if until is None else min(until, self.seen)
        if upto <= seen:
            return Changes(max(upto, min(seen, self.seen)), [])
        lanes = self._lanes(nodes, keys)
        if limit is not None:
            looked = sorted(when for lane in lanes for when in self._touches(lane, seen, upto))
            upto = looked[max(limit, 1) - 1] if len(looked) >= max(limit, 1) else upto
        found = []
        for lane in lanes:
            then, now = self._pieces(lane, seen), self._pieces(lane, upto)
            same = {p.start for p in now if self._has(lane, seen, p.start, (p.value, p.slope))}
            gone = [p for p in then if p.start not in same or p.start not in {q.start for q in now}]
            new = [p for p in now if p.start not in same]
            if not gone and not new:
                continue
            last = max(p.start for p in gone + new)
            end = min((p.start for p in now if p.start > last), default=None)
            when = max([p.seen_until or 0 for p in gone] + [p.seen_from for p in new])
            found.append(Changed(lane[0], self.keys[lane[1]], min(p.start for p in gone + new), end, when))
        return Changes(
            max(upto, min(seen, self.seen)), sorted(found, key=lambda c: (c.seen, c.node, text(c.key)))
        )

    def _touches(self, lane: Lane, seen: int, upto: int) -> list[int]:
        """When rows of a lane were written and superseded, in these times."""
        found = []
        before: list[Row] = []
        for when in self.times:
            rows = self._rows(lane, when)
            changed = sum(not any(_same(a, b) for b in before) for a in rows)
            changed += sum(not any(_same(a, b) for b in rows) for a in before)
            if seen < when <= upto:
                found += [when] * changed
            before = rows
        return found

    async def forget(self, before: int, *, idle: int | None = None, of: Scope | None = None) -> Forgotten:
        definitions = [name for name in self.topics if of is None or name in of.definitions]
        stored = {writer.node for writer, _ in self.writers.values()}
        nodes = [name for name in stored if of is None or name in of.nodes]
        if of is None:
            self.kept_from = max(before, before if self.kept_from is None else self.kept_from)
        else:
            for one in [*(("definition", d) for d in definitions), *(("node", n) for n in nodes)]:
                self.kept_of[one] = max(before, self.kept_of.get(one, before))
        gone = [
            (name, position)
            for (name, position), (v, _) in self.verdicts.items()
            if name in definitions
            and (self.raw[self.topics[name], position].published if v.time is None else v.time) < before
        ]
        for one in gone:
            del self.verdicts[one]
        lost = {(self.topics[name], position) for name, position in gone}
        lost |= {of for of, event in self.raw.items() if event.published < self._bound(of[0])}
        judged = {(self.topics[name], position) for name, position in self.verdicts}
        for topic, position in lost - judged:
            del self.raw[topic, position]
        if idle is not None:
            for lane, states in list(self.lanes.items()):
                begun = [at for seen in states for at, _ in self._rows(lane, seen)]
                if lane[0] in nodes and all(at < min(idle, before) for at in begun):
                    del self.lanes[lane]
        return Forgotten(len(lost - judged), len(gone), 0)

    def _bound(self, topic: str) -> float:
        """Below it there are no verdicts on events of ``topic`` any more."""
        kept = [self._kept("definition", name) for name, of in self.topics.items() if of == topic]
        return min((-math.inf if one is None else one for one in kept or [self.kept_from]), default=0)

    async def contents(self) -> Contents:
        nodes = frozenset(writer.node for writer, _ in self.writers.values())
        return Contents(self.seen, dict(self.topics), nodes, self.kept_from, self.gaps_told)

    async def status(self) -> Status:
        definitions = []
        for name, topic in sorted(self.topics.items()):
            mine = [v for (of, _), (v, _) in self.verdicts.items() if of == name]
            times = [v.time for v in mine if v.time is not None]
            many: dict[Outcome, int] = dict(Counter(v.outcome for v in mine))
            definitions.append(
                DefinitionStatus(
                    name,
                    topic,
                    many,
                    min(times, default=None),
                    max(times, default=None),
                    self._mark(name),
                    self._kept("definition", name),
                )
            )
        nodes = []
        for node in sorted({writer.node for writer, _ in self.writers.values()}):
            mine_ = [(writer, mark) for writer, mark in self.writers.values() if writer.node == node]
            mine_ = [one for one in mine_ if one[0].partitions] or mine_
            known: list[Any] = [mark for _, mark in mine_]
            many = max(w.partitions for w, _ in mine_)
            whole = None not in known and len(known) == max(many, 1)
            mark, kept = min(known) if whole else None, self._kept("node", node)
            nodes.append(NodeStatus(node, len(self._lanes([node], None)), mark, kept))
        events = Counter(topic for topic, _ in self.raw)
        return Status("model", self.seen, events, definitions, nodes, 0, 0, self.kept_from, self.gaps_told)

    async def close(self) -> None:
        pass


def _same(one: Row, other: Row) -> bool:
    return one[0] == other[0] and _alike(one[1], other[1])
