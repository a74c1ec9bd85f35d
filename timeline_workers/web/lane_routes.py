"""The route ``/api/lanes``: every node of a metric for one key, from the history or from the workers."""

from __future__ import annotations

from typing import Annotated, Any, Literal, cast

from fastapi import APIRouter, Query

from timeline_workers.answers.answer_models import Doubt
from timeline_workers.client.models import Written, keys_meant
from timeline_workers.columns.key_table import Key
from timeline_workers.errors import Code, QuestionError, UnknownNameError
from timeline_workers.events.times import EARLIEST, LATEST, from_microseconds
from timeline_workers.history import model as history
from timeline_workers.history.store import HistoryStore
from timeline_workers.metric.model import TimeUnit
from timeline_workers.plan.physical import Plan, plan
from timeline_workers.playback.history_names import recorded_metric

from .history_models import Lanes
from .history_routes import AsOf, End, Start, event_shown, gap_shown, moment, window
from .lanes import asked_lanes, computed_lanes, group_lanes
from .site import OfSite, Site, Unit

router = APIRouter(tags=["lanes"])
EVERY_OUTCOME = frozenset(history.Outcome)


@router.get("/lanes")
async def lanes_of_key(
    site: OfSite,
    metric: Annotated[str, Query(description="The name of an applied metric.")],
    key: Annotated[str, Query(description="The key as written, or the group of an aggregate.")],
    start: Start = None,
    end: End = None,
    as_of: AsOf = None,
    origin: Annotated[
        Literal["auto", "history", "workers"],
        Query(description="Where from; auto: from the history where it has events of the key."),
    ] = "auto",
    spans: Annotated[
        int, Query(ge=10, le=100_000, description="Most of a lane; short ones are merged.")
    ] = 10_000,
    events: Annotated[int, Query(ge=0, le=10_000, description="Most events beside the lanes.")] = 1_000,
    unit: Unit = None,
) -> Lanes:
    """Every node of a metric for one key, in graph order, children first, and the key's events."""
    client = await site.client()
    planned = plan(await client.metric(metric))
    used = unit or planned.metric.source.time_unit
    if site.store is not None and origin != "workers":
        try:
            return await _from_history(site, site.store, planned, key, start, end, as_of, used, spans, events)
        except UnknownNameError:
            if origin == "history" or as_of is not None:
                raise
    if origin == "history":
        site.history()
    if start is None or end is None:
        raise QuestionError("workers are asked about a range: give start and end")
    low, high = window(start, end, used)
    if as_of is not None:
        raise QuestionError("what was known then is asked of a history store, and there is none here")
    lanes, known, doubts = await asked_lanes(client, planned, key, (low, high), used, spans)
    return _lanes(
        planned, known[0] if known else key, used, (low, high), "workers", lanes=lanes, doubts=doubts
    )


async def _from_history(
    site: Site,
    store: HistoryStore,
    planned: Plan,
    key: str,
    start: str | None,
    end: str | None,
    as_of: str | None,
    unit: TimeUnit,
    most: int,
    events: int,
) -> Lanes:
    definition = recorded_metric(planned.metric).definition
    reach = await store.reach(definition)
    if reach is None:
        raise UnknownNameError(
            f"the history has no events of metric {planned.metric.name!r}", code=Code.UNKNOWN_SOURCE
        )
    keys = [cast(Key, one) for one in keys_meant(Written(key), group=False)]
    seen = None if as_of is None else moment(as_of, unit)
    low, high = window(start, end, unit)
    floor = EARLIEST if reach.kept_from is None else reach.kept_from
    if start is None or end is None:
        ends = [
            found[0].time
            for backwards in (False, True)
            if (
                found := await store.events(
                    definition, floor, LATEST + 1, keys=keys, as_of=seen, backwards=backwards, limit=1
                )
            )
        ]
        first, last = (cast(int, time) for time in ends) if ends else (floor, floor)
        low = low if start is not None else min(first, high)
        high = high if end is not None else max(last + max((last - low) // 10, 1_000_000), low)
    lanes, known = await computed_lanes(
        store, planned, definition, keys, (low, high), unit, as_of=seen, most=most
    )
    if not known:
        groups = keys_meant(Written(key), group=True)
        first, last = (floor if time is None else time for time in (reach.first, reach.last))
        shown = (low if start is not None else first, high if end is not None else last + 1)
        lanes, found_groups = await group_lanes(store, planned, groups, shown, unit, as_of=seen, most=most)
        if found_groups:
            return _lanes(
                planned,
                found_groups[0],
                unit,
                shown,
                "history",
                lanes=lanes,
                as_of=seen,
                kept_from=reach.kept_from,
            )
        raise UnknownNameError(
            f"the history has no events of key {key!r} for metric {planned.metric.name!r}",
            code=Code.UNKNOWN_KEY,
        )
    shown_from = max(low, floor)
    counts = await store.density(definition, shown_from, max(high, shown_from + 1), 1, keys=known, as_of=seen)
    found = (
        await store.events(
            definition, shown_from, high, keys=known, outcomes=EVERY_OUTCOME, as_of=seen, limit=events
        )
        if events
        else []
    )
    names = {planned.metric.source.topic, *(node.name for node in planned.nodes)}
    return _lanes(
        planned,
        known[0],
        unit,
        (low, high),
        "history",
        lanes=lanes,
        as_of=seen,
        watermark=None if seen is not None else reach.watermark,
        kept_from=reach.kept_from,
        events=[event_shown(one, unit) for one in found],
        events_count=sum(sum(each) for each in counts.values()),
        gaps=[gap_shown(gap, unit) for gap in await site.gaps() if gap.of in names],
    )


def _lanes(
    planned: Plan,
    key: history.Group,
    unit: TimeUnit,
    shown: tuple[int, int],
    origin: Literal["history", "workers"],
    *,
    as_of: int | None = None,
    watermark: int | None = None,
    kept_from: int | None = None,
    doubts: list[Doubt] | None = None,
    events_count: int = 0,
    **found: Any,
) -> Lanes:
    def time(micros: int | None) -> Any:
        return None if micros is None else from_microseconds(micros, unit)

    return Lanes(
        metric=planned.metric.name,
        key=key,
        unit=unit,
        start=time(shown[0]),
        end=time(shown[1]),
        origin=origin,
        as_of=time(as_of),
        watermark=time(watermark),
        kept_from=time(kept_from),
        events_count=events_count,
        doubts=doubts or [],
        **{"events": [], "gaps": [], **found},
    )
