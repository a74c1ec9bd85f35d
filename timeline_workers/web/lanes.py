"""Lanes: the timelines of every node of a metric for one key, in graph order.

They are computed from the stored events of the key where there are any, which shows any node of any metric
also as it was known at an earlier system time, and asked of the workers else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from typing import cast

from timeline_workers.answers.answer_models import Doubt, Spans
from timeline_workers.client import TimelineClient, Written
from timeline_workers.client.models import question
from timeline_workers.columns.key_table import Key
from timeline_workers.errors import TimelineError
from timeline_workers.events.times import from_microseconds, question_time
from timeline_workers.history.computed import Computed, compute
from timeline_workers.history.model import Group, node_of
from timeline_workers.history.store import HistoryStore
from timeline_workers.language import tree as t
from timeline_workers.language.parser import parse
from timeline_workers.metric.model import TimeUnit
from timeline_workers.plan.physical import NodeSpec, Plan, is_global
from timeline_workers.playback.history_values import shown, slope_of

from .history_models import Lane, LaneSpan
from .merging import Stretch, merge

OVER_ALL_KEYS = "an aggregate is over all keys: see its groups"


async def computed_lanes(
    store: HistoryStore,
    planned: Plan,
    definition: str,
    keys: Sequence[Key],
    window: tuple[int, int],
    unit: TimeUnit,
    *,
    as_of: int | None,
    most: int,
) -> tuple[list[Lane], list[Key]]:
    """The lanes of ``planned`` from stored events, and which of ``keys`` (those that a text may mean) there
    are. Raises what ``history.computed.compute`` raises.
    """
    tree = parse(planned.result.expression)
    parts: list[t.Expression] = [tree]
    if isinstance(tree, t.Aggregate):
        parts = [tree.of, t.LatestEventToState(column=tree.group_by)]
    found: list[Computed] = [
        await compute(
            store,
            part,
            planned.metric.source,
            keys=list(keys),
            as_of=as_of,
            like=definition,
            accepted_only=True,
        )
        for part in parts
    ]
    by_text = {node.text: computed for computed in found for node in computed.nodes}
    known = list(found[0].keys)

    def lane(node: NodeSpec) -> Lane:
        if (computed := by_text.get(node.expression)) is None:
            return _lane(planned, node, [], OVER_ALL_KEYS)
        pieces = computed.pieces(node.expression, *window)
        found = [Stretch(one.start, one.until, shown(one.value), slope_of(one)) for one in pieces]
        return _lane(planned, node, _spans(found, window, most, unit))

    return await asyncio.to_thread(lambda: [lane(node) for node in planned.nodes]), known


async def group_lanes(
    store: HistoryStore,
    planned: Plan,
    groups: Sequence[Group],
    window: tuple[int, int],
    unit: TimeUnit,
    *,
    as_of: int | None,
    most: int,
) -> tuple[list[Lane], list[Group]]:
    """The lanes of an aggregate, one for each function, for those of ``groups`` (what a text may mean) that
    there are, as they are stored; none of another metric.
    """
    tree = parse(planned.result.expression)
    lanes, known = [], []
    for function in tree.functions if isinstance(tree, t.Aggregate) else ():
        name = node_of(planned.result.name, function)
        pieces = await store.pieces([name], *window, keys=list(groups), as_of=as_of)
        known += [piece.key for piece in pieces]
        found = [Stretch(one.start, one.until, shown(one.value), slope_of(one)) for one in pieces]
        lane = _lane(planned, planned.result, _spans(found, window, most, unit))
        lanes.append(lane.model_copy(update={"function": function}))
    return lanes, known


async def asked_lanes(
    client: TimelineClient,
    planned: Plan,
    key: str,
    window: tuple[int, int],
    unit: TimeUnit,
    most: int,
) -> tuple[list[Lane], list[Key], list[Doubt]]:
    """The lanes of ``planned`` as its workers answer, the keys that they know it by, and doubts."""
    start, end = (from_microseconds(one, unit) for one in window)
    known: list[Key] = []
    doubts: dict[tuple[str, str], Doubt] = {}
    refused: list[TimelineError] = []

    async def lane(node: NodeSpec) -> Lane:
        if is_global(node):
            return _lane(planned, node, [], OVER_ALL_KEYS)
        asked = question("spans", start=start, end=end, node=node.name, unit=unit)
        try:
            async with aclosing(client.ask_planned(planned, asked, [Written(key)])) as answers:
                found = [cast(Spans, answer) async for answer in answers]
        except TimelineError as error:
            refused.append(error)
            return _lane(planned, node, [], str(error))
        for answer in found:
            known.append(cast(Key, answer.key))
            if answer.health is not None:
                doubts[answer.health.state, answer.health.cause] = answer.health
        stretches = [
            Stretch(question_time(one.start, unit), question_time(one.end, unit), one.value, one.slope)
            for one in (found[0].spans if found else [])
        ]
        return _lane(planned, node, _spans(stretches, window, most, unit))

    lanes = await asyncio.gather(*(lane(node) for node in planned.nodes))
    if not known and refused:
        raise refused[0]
    return list(lanes), list(dict.fromkeys(known)), list(doubts.values())


def _lane(planned: Plan, node: NodeSpec, spans: list[LaneSpan], problem: str | None = None) -> Lane:
    return Lane(
        node=node.name,
        operator=node.operator,
        expression=node.expression,
        kind=node.kind,
        inputs=list(node.inputs),
        function="",
        is_result=node is planned.result,
        count=sum(span.merged for span in spans),
        spans=spans,
        problem=problem,
    )


def _spans(found: list[Stretch], window: tuple[int, int], most: int, unit: TimeUnit) -> list[LaneSpan]:
    return [
        LaneSpan(
            start=from_microseconds(one.start, unit),
            end=None if one.end is None else from_microseconds(one.end, unit),
            value=one.value,
            slope=one.slope,
            merged=one.merged,
        )
        for one in merge(found, *window, most)
    ]
