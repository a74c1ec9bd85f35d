"""Conformance of history stores: each answers what the brute-force model does, at all system times."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from tests.conftest import LONG
from timeline_workers.errors import QuestionError
from timeline_workers.history.model import EventCursor, Piece, PieceCursor, Revision, Scope, Status, Writer
from timeline_workers.history.store import HistoryStore

from .model_store import LAST, ModelStore
from .scripts import Clock, Step, appends, clock_steps, later_appends, questions, scopes
from .stores import Fresh

# Each makes and drops the tables of a PostgreSQL store.
few = settings(max_examples=200 if LONG in os.environ else 20, deadline=None)


@dataclass(frozen=True)
class Pair:
    """A store and the model, empty at first, with one clock."""

    store: HistoryStore
    model: HistoryStore
    clock: Clock

    async def same(self, call: Step) -> None:
        """Both answer ``call`` alike, or refuse it alike."""
        self.clock.go_on()
        assert await said(call, self.store) == await said(call, self.model), call


async def said(call: Step, store: HistoryStore) -> Any:
    """What a store answers, or how it refuses."""
    try:
        return await call.call(store)
    except QuestionError as error:
        return error.code


async def lanes_at(store: HistoryStore, at: int, as_of: int) -> dict[tuple[str, str], Piece]:
    """What holds at an instant, as known then."""
    return {(p.node, repr(p.key)): p for p in await store.snapshot(["a", "b"], at, as_of=as_of)}


def comparable(status: Status) -> Any:
    """What of a status all stores have in common."""
    events = {topic: many for topic, many in status.events.items() if many}
    return status.seen, events, status.definitions, status.nodes, status.kept_from, status.gaps


def both(fresh: Fresh, steps: list[int], script: Callable[[Pair], Awaitable[None]]) -> None:
    """Run ``script`` with a store, and the model beside it."""

    async def run() -> None:
        clock = Clock(steps)
        async with fresh(clock) as store:
            assert isinstance(store, HistoryStore)
            await script(Pair(store, ModelStore(clock), clock))

    asyncio.run(run())


@few
@given(appends, st.data(), clock_steps, st.lists(questions(), min_size=1, max_size=12))
def test_answers_are_those_of_the_model(
    fresh: Fresh, script: list[Step], data: st.DataObject, steps: list[int], asked: list[Step]
) -> None:
    async def compare(pair: Pair) -> None:
        for at, append in enumerate(script):
            await pair.same(append)
            await pair.same(script[data.draw(st.integers(0, at), label="again")])
        for question in asked:
            await pair.same(question)
        assert comparable(await pair.store.status()) == comparable(await pair.model.status())
        assert await pair.store.contents() == await pair.model.contents()

    both(fresh, steps, compare)


@few
@given(
    appends,
    clock_steps,
    st.integers(0, LAST - 1),
    st.none() | st.integers(0, LAST - 1),
    scopes,
    later_appends,
    st.lists(questions().filter(lambda q: not q.said.startswith("changed")), min_size=1, max_size=12),
)
def test_forgetting_leaves_later_answers_alone(
    fresh: Fresh,
    script: list[Step],
    steps: list[int],
    before: int,
    idle: int | None,
    of: Scope | None,
    later: list[Step],
    asked: list[Step],
) -> None:
    async def compare(pair: Pair) -> None:
        for append in script:
            await pair.same(append)
        gone = await pair.store.forget(before, idle=idle, of=of)
        expected = await pair.model.forget(before, idle=idle, of=of)
        assert (gone.events, gone.verdicts) == (expected.events, expected.verdicts)
        for step in [*later, *asked]:
            await pair.same(step)
        assert comparable(await pair.store.status()) == comparable(await pair.model.status())
        assert await pair.store.contents() == await pair.model.contents()

    both(fresh, steps, compare)


@few
@given(appends, clock_steps, st.integers(0, LAST - 1), st.integers(0, 60), st.integers(0, 60))
def test_what_changed_is_reported(
    fresh: Fresh, script: list[Step], steps: list[int], before: int, seen: int, until: int
) -> None:
    """Wherever what is known differs between two times, also where the past was forgotten, is in it."""

    async def compare(pair: Pair) -> None:
        store = pair.store
        for append in script:
            await pair.same(append)
        await store.forget(before)
        changes = await store.changed_since(["a", "b"], seen, until=max(seen, until))
        for at in range(before, LAST):
            then = await lanes_at(store, at, seen)
            now = await lanes_at(store, at, changes.seen)
            for lane in then.keys() | now.keys():
                one, other = then.get(lane), now.get(lane)
                if one is not None and other is not None and one.seen_from == other.seen_from:
                    continue
                assert any(
                    (c.node, repr(c.key)) == lane and c.since <= at and (c.until is None or at < c.until)
                    for c in changes.changed
                )

    both(fresh, steps, compare)


@few
@given(appends, clock_steps, st.integers(1, 3))
def test_pages_make_up_the_whole(fresh: Fresh, script: list[Step], steps: list[int], many: int) -> None:
    async def compare(pair: Pair) -> None:
        store = pair.store
        for append in script:
            await pair.same(append)
        pieces = await store.pieces(["a", "b"], 5, LAST)
        paged = await store.pieces(["a", "b"], 5, LAST, limit=many)
        while page := paged and await store.pieces(
            ["a", "b"], 5, LAST, after=PieceCursor(paged[-1].start, paged[-1].node, paged[-1].key), limit=many
        ):
            paged += page
        assert paged == pieces
        events = await store.events("clicks-1", 0, LAST)
        found = await store.events("clicks-1", 0, LAST, limit=many)
        while more := found and await store.events(
            "clicks-1", 0, LAST, after=EventCursor(found[-1].time or 0, found[-1].position), limit=many
        ):
            found += more
        assert found == events

    both(fresh, steps, compare)


@few
@given(appends, clock_steps, st.integers(1, 4))
def test_changes_asked_on_from_seen_are_all(
    fresh: Fresh, script: list[Step], steps: list[int], many: int
) -> None:
    """Asked on with a limit, every lane that differs from the beginning is told."""

    async def compare(pair: Pair) -> None:
        store = pair.store
        for append in script:
            await pair.same(append)
        last = (await store.status()).seen
        seen, told = 0, set()
        while seen < last:
            changes = await store.changed_since(["a", "b"], seen, limit=many)
            assert changes.seen > seen
            seen = changes.seen
            told |= {(c.node, repr(c.key)) for c in changes.changed}
        assert {(c.node, repr(c.key)) for c in (await store.changed_since(["a", "b"], 0)).changed} <= told

    both(fresh, steps, compare)


def test_unordered_pieces_are_refused_and_named(fresh: Fresh) -> None:
    async def refuse(pair: Pair) -> None:
        wrong = Revision("s1", 5, [(7, True, None), (7, False, None)])
        store = pair.store
        with pytest.raises(ValueError, match=r"a piece of 's1' starts at 7.* may start at 8 or later"):
            await store.append_revisions(Writer("w", "a"), (1, 0), [wrong])
        assert await store.pieces(["a"], 0, LAST) == []
        right = Revision("s1", 5, [(7, True, None)])
        # The stamp of what was refused is free.
        assert (await store.append_revisions(Writer("w", "a"), (1, 0), [right])).fresh

    both(fresh, [1], refuse)
