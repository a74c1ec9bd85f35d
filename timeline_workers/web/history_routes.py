"""Routes about the history: events, pieces and densities of a window, and what the store holds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any, cast

from fastapi import APIRouter, Query
from fastapi.responses import Response
from pydantic_core import from_json

from timeline_workers.client.models import Written, keys_meant
from timeline_workers.columns.key_table import Key
from timeline_workers.errors import Code, QuestionError, UnknownNameError
from timeline_workers.events.times import EARLIEST, LATEST, from_microseconds, question_time, read_time
from timeline_workers.history import model as history
from timeline_workers.history.followed_to import least_followed
from timeline_workers.history.store import ACCEPTED
from timeline_workers.language.suggestions import nearest
from timeline_workers.metric.model import Metric, TimeUnit
from timeline_workers.playback.history_names import recorded_metric
from timeline_workers.playback.history_values import shown

from .csv_tables import csv_answer
from .history_models import (
    DefinitionRow,
    Density,
    EventPage,
    EventShown,
    GapShown,
    HistoryStatus,
    PiecePage,
    PieceShown,
    StoredNode,
)
from .site import AsCsv, OfSite, Site, Unit

router = APIRouter(prefix="/history", tags=["history"])
_CSV: dict[int | str, dict[str, Any]] = {200: {"content": {"text/csv": {"schema": {"type": "string"}}}}}

Metrics = Annotated[str, Query(description="The name of an applied metric.")]
Start = Annotated[str | None, Query(description="From here on; by default from the beginning.")]
End = Annotated[str | None, Query(description="Before this; by default to the end.")]
Keys = Annotated[list[str] | None, Query(description="Only these keys, as written.")]
AsOf = Annotated[str | None, Query(description="What was known then, by the store's clock.")]
After = Annotated[str | None, Query(description="The next of the page before.")]
Limit = Annotated[int, Query(ge=1, le=10_000)]


def moment(text: str, unit: TimeUnit) -> int:
    """A time that is written in a request, in microseconds. Raises QuestionError."""
    return question_time(read_time(text, unit), unit)


def window(start: str | None, end: str | None, unit: TimeUnit) -> tuple[int, int]:
    """A window in microseconds; what is not given is as far as it goes. Raises QuestionError."""
    low = EARLIEST if start is None else moment(start, unit)
    high = LATEST + 1 if end is None else moment(end, unit)
    if high < low:
        raise QuestionError(f"the window ends at {end}, before it starts at {start}; swap them")
    return low, high


def written(texts: Sequence[str] | None) -> list[Key] | None:
    """Keys as they are written: each means the text and the number."""
    if texts is None:
        return None
    return [cast(Key, key) for text in texts for key in keys_meant(Written(text), group=False)]


async def of_metric(site: Site, name: str, unit: TimeUnit | None) -> tuple[Metric, str, TimeUnit]:
    """An applied metric, its source definition, and the unit of its times."""
    site.history()
    metric = await (await site.client()).metric(name)
    return metric, recorded_metric(metric).definition, unit or metric.source.time_unit


@router.get("/status")
async def history_status(site: OfSite, unit: Unit = None) -> HistoryStatus:
    """What is stored, how far it reaches, and what is known to be missing. Times are ISO 8601 by default."""
    store = site.history()
    found = await store.status()
    followed = await least_followed(store, found)
    used: TimeUnit = unit or "iso"
    metrics = await (await site.client()).metrics()
    of: dict[str, list[str]] = {}
    for metric in metrics:
        of.setdefault(recorded_metric(metric).definition, []).append(metric.name)

    def time(micros: int | None) -> Any:
        return None if micros is None else from_microseconds(micros, used)

    return HistoryStatus(
        store=found.store,
        seen=time(found.seen),
        kept_from=time(found.kept_from),
        rows=found.rows,
        bytes=found.bytes,
        events=dict(found.events),
        definitions=[
            DefinitionRow(
                definition=one.definition,
                topic=one.topic,
                metrics=of.get(one.definition, []),
                **{outcome.value: one.outcomes.get(outcome, 0) for outcome in history.Outcome},
                first=time(one.first),
                last=time(one.last),
                watermark=time(one.watermark),
                kept_from=time(one.kept_from),
                followed_to=time(followed.get(one.definition)),
            )
            for one in found.definitions
        ],
        nodes=[
            StoredNode(
                node=one.node, keys=one.keys, watermark=time(one.watermark), kept_from=time(one.kept_from)
            )
            for one in found.nodes
        ],
        gaps=[gap_shown(gap, used) for gap in found.gaps],
    )


def gap_shown(gap: history.Gap, unit: TimeUnit) -> GapShown:
    """A gap as it is shown."""
    since, until = (None if t is None else from_microseconds(t, unit) for t in (gap.since, gap.until))
    seen = from_microseconds(gap.seen, unit)
    return GapShown(of=gap.of, start=since, end=until, why=gap.why, seen=seen)


@router.get("/events", response_model=EventPage, responses=_CSV)
async def stored_events(
    site: OfSite,
    metric: Metrics,
    start: Start = None,
    end: End = None,
    key: Keys = None,
    outcome: Annotated[list[history.Outcome] | None, Query(description="By default accepted.")] = None,
    as_of: AsOf = None,
    after: After = None,
    limit: Limit = 1_000,
    unit: Unit = None,
    csv: AsCsv = False,
) -> EventPage | Response:
    """The stored events of a metric, with what became of them."""
    _, definition, used = await of_metric(site, metric, unit)
    low, high = window(start, end, used)
    found = await site.history().events(
        definition,
        low,
        high,
        keys=written(key),
        outcomes=frozenset(outcome) if outcome else ACCEPTED,
        as_of=None if as_of is None else moment(as_of, used),
        after=None if after is None else _event_cursor(after),
        limit=limit,
    )
    rows = [event_shown(one, used) for one in found]
    if csv:
        return csv_answer(rows, f"{metric}-events")
    last = found[-1] if len(found) == limit else None
    return EventPage(events=rows, next=None if last is None else json.dumps([last.time, *last.position]))


def event_shown(event: history.StoredEvent, unit: TimeUnit) -> EventShown:
    """An event as it is shown."""
    try:
        payload: Any = from_json(event.payload)
    except ValueError:
        payload = event.payload.decode(errors="replace")
    return EventShown(
        time=None if event.time is None else from_microseconds(event.time, unit),
        key=event.key,
        outcome=event.outcome.value,
        reason=event.reason,
        message=event.message,
        payload=payload,
        published=from_microseconds(event.published, unit) if event.published else None,
        position=(event.position.partition, event.position.major, event.position.minor),
        seen=from_microseconds(event.seen, unit),
    )


def _event_cursor(text: str) -> history.EventCursor:
    time, *place = _cursor(text, 4)
    return history.EventCursor(_whole(time), history.Position(*map(_whole, place)))


def _piece_cursor(text: str) -> history.PieceCursor:
    start, node, key = _cursor(text, 3)
    if not isinstance(node, str) or not isinstance(key, bool | int | float | str | None):
        raise QuestionError(f"after={text!r:.100} is no next of a page; leave it out")
    return history.PieceCursor(_whole(start), node, key)


def _cursor(text: str, parts: int) -> list[Any]:
    try:
        found = from_json(text)
    except ValueError:
        found = None
    if not isinstance(found, list) or len(found) != parts:
        raise QuestionError(f"after={text!r:.100} is no next of a page; leave it out")
    return found


def _whole(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) >= 2**63:
        raise QuestionError(f"after has {value!r:.60} where a whole number belongs; leave after out")
    return value


@router.get("/pieces", response_model=PiecePage, responses=_CSV)
async def stored_pieces(
    site: OfSite,
    metric: Metrics,
    node: Annotated[
        list[str] | None,
        Query(description="Names of nodes, of an aggregate with /function; by default the result."),
    ] = None,
    start: Start = None,
    end: End = None,
    key: Keys = None,
    as_of: AsOf = None,
    after: After = None,
    limit: Limit = 1_000,
    unit: Unit = None,
    csv: AsCsv = False,
) -> PiecePage | Response:
    """The stored timelines of nodes: those pieces that hold in the window, and when they were known."""
    applied, _, used = await of_metric(site, metric, unit)
    names = _nodes(applied, node)
    low, high = window(start, end, used)
    found = await site.history().pieces(
        names,
        low,
        high,
        keys=None if key is None else [k for text in key for k in keys_meant(Written(text), group=True)],
        as_of=None if as_of is None else moment(as_of, used),
        carried=after is None,
        after=None if after is None else _piece_cursor(after),
        limit=limit,
    )
    rows = [_piece_shown(one, used) for one in found]
    if csv:
        return csv_answer(rows, f"{metric}-pieces")
    last = found[-1] if len(found) == limit else None
    return PiecePage(
        pieces=rows, next=None if last is None else json.dumps([last.start, last.node, last.key])
    )


def _nodes(metric: Metric, asked: Sequence[str] | None) -> list[str]:
    nodes = recorded_metric(metric).nodes
    if not asked:
        result = nodes[-1].expression
        return [one.node for one in nodes if one.expression == result]
    known = {one.node for one in nodes}
    for name in asked:
        if name not in known:
            raise UnknownNameError(
                f"metric {metric.name!r} has no node {name!r:.200}; "
                f"did you mean {nearest(name, known) or nodes[-1].node!r}?",
                code=Code.UNKNOWN_NODE,
            )
    return list(asked)


def _piece_shown(piece: history.Piece, unit: TimeUnit) -> PieceShown:
    until = piece.until
    return PieceShown(
        node=piece.node,
        key=piece.key,
        start=from_microseconds(piece.start, unit),
        end=None if until is None else from_microseconds(until, unit),
        value=shown(piece.value),
        slope=None if piece.slope is None else cast("int | float", shown(piece.slope)),
        seen_from=from_microseconds(piece.seen_from, unit),
        seen_until=None if piece.seen_until is None else from_microseconds(piece.seen_until, unit),
    )


@router.get("/density")
async def event_density(
    site: OfSite,
    metric: Metrics,
    start: Start = None,
    end: End = None,
    buckets: Annotated[int, Query(ge=1, le=10_000)] = 1_000,
    key: Keys = None,
    as_of: AsOf = None,
    unit: Unit = None,
) -> Density:
    """How many events of each outcome lie in each part of a window; by default from the first to the last."""
    _, definition, used = await of_metric(site, metric, unit)
    low, high = window(start, end, used)
    store = site.history()
    reach = await store.reach(definition)
    if reach is not None and reach.first is not None and reach.last is not None:
        low = low if start is not None else max(reach.first, reach.kept_from or reach.first)
        high = high if end is not None else reach.last + 1
    elif start is None or end is None:
        low, high = (0, buckets) if start is None and end is None else (low, low + buckets)
    found = await store.density(
        definition,
        low,
        high,
        buckets,
        keys=written(key),
        as_of=None if as_of is None else moment(as_of, used),
    )
    return Density(
        start=from_microseconds(low, used),
        end=from_microseconds(high, used),
        width=-(-(high - low) // buckets) / 1_000_000,
        outcomes={outcome.value: list(counts) for outcome, counts in found.items()},
    )
