"""Routes that move a history, forget some of it, or have the feeder read it again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse

from timeline_workers.errors import QuestionError
from timeline_workers.events.times import EARLIEST, LATEST, read_moment
from timeline_workers.history.day_files import Format
from timeline_workers.history.tar_stream import MEDIA_TYPE, export_tar, import_tar
from timeline_workers.history.upkeep import forget_before, forget_older, read_again
from timeline_workers.language.durations import parse_duration
from timeline_workers.metric.model import Metric, TimeUnit

from .history_models import ForgetAnswer, ForgetRequest, ImportAnswer, RebuildAnswer, RebuildRequest
from .history_routes import AsOf, moment
from .site import OfSite, Site

Unit = Annotated[TimeUnit | None, Query(description="Of times; by default ISO 8601, or seconds since 1970.")]

router = APIRouter(prefix="/history", tags=["history"])
_BINARY: dict[str, Any] = {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}}


@router.get("/export", response_class=StreamingResponse, responses={200: {"content": _BINARY}})
async def export_history(
    site: OfSite,
    format: Annotated[Format, Query(description="Of the files; parquet needs the extra `frames`.")] = "jsonl",
    start: Annotated[str | None, Query(description="From this event time on.")] = None,
    end: Annotated[str | None, Query(description="Before this event time.")] = None,
    as_of: AsOf = None,
    unit: Unit = None,
) -> StreamingResponse:
    """What is stored, as a tar archive of the folder that `timeline history export` writes, while it is read:
    events with their verdicts, and timelines, by day of event time.
    """
    low = EARLIEST if start is None else _time(start, unit)
    high = LATEST + 1 if end is None else _time(end, unit)
    then = None if as_of is None else _time(as_of, unit)
    pieces = export_tar(site.history(), format=format, start=low, end=high, as_of=then)
    first = await anext(pieces)  # what is wrong beforehand is answered as a failure

    async def body() -> AsyncIterator[bytes]:
        try:
            yield first
            async for piece in pieces:
                yield piece
        finally:
            await pieces.aclose()

    name = {"Content-Disposition": 'attachment; filename="history.tar"'}
    return StreamingResponse(body(), media_type=MEDIA_TYPE, headers=name)


@router.post("/import", openapi_extra={"requestBody": {"required": True, "content": _BINARY}})
async def import_history(
    site: OfSite,
    request: Request,
    events_only: Annotated[bool, Query(description="Leave timelines out.")] = False,
) -> ImportAnswer:
    """Store what was exported: a tar archive of the folder. Events are stored once, however often that is
    done; timelines only where the store has none of the same nodes. The archive may have any size.
    """
    site.may_write()
    found = await import_tar(site.history(), request.stream(), pieces=not events_only)
    return ImportAnswer(events=found["events"], pieces=found["pieces"])


@router.post("/forget")
async def forget_history(site: OfSite, asked: ForgetRequest) -> ForgetAnswer:
    """Delete events and timelines below an event time. What holds there, and later, is answered as before."""
    site.may_write()
    store = site.history()
    if (asked.before is None) == (asked.older_than is None):
        raise QuestionError("say either before or older_than")
    if asked.before is not None:
        before = _time(str(asked.before), asked.unit)
        gone = await forget_before(store, before, await _named(site, asked.metrics))
    else:
        age = parse_duration(asked.older_than or "")
        gone = await forget_older(store, age, await _named(site, asked.metrics))
    return ForgetAnswer(events=gone.events, verdicts=gone.verdicts, change_points=gone.pieces)


@router.post("/rebuild")
async def rebuild_history(site: OfSite, asked: RebuildRequest) -> RebuildAnswer:
    """Have the feeder read again, when it starts next, what the broker retains, and store what is missing.
    Stop the feeders before: one that runs goes on from where it is.
    """
    site.may_write()
    return RebuildAnswer(partitions=await read_again(site.history(), await _named(site, asked.metrics)))


def _time(text: str, unit: TimeUnit | None) -> int:
    return read_moment(text) if unit is None else moment(text, unit)


async def _named(site: Site, names: list[str] | None) -> list[Metric] | None:
    if names is None:
        return None
    client = await site.client()
    return [await client.metric(name) for name in names]
