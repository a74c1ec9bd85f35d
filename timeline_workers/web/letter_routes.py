"""Routes about dead letters: the events that were not applied, which, why, and sending them again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import Response

from timeline_workers.client.dead_letters import Chosen
from timeline_workers.errors import EventError, MetricError, QuestionError
from timeline_workers.events.times import to_microseconds
from timeline_workers.language.durations import parse_duration

from .csv_tables import csv_answer
from .rest_models import Letter, LetterCounts, LetterList, ReplayAnswer, ReplayRequest
from .site import AsCsv, OfSite

router = APIRouter(tags=["letters"])
_CSV: dict[int | str, dict[str, Any]] = {200: {"content": {"text/csv": {"schema": {"type": "string"}}}}}

Topics = Annotated[
    list[str] | None, Query(description="Topics of events; by default those of the applied metrics.")
]
Reasons = Annotated[list[str] | None, Query(description="Only letters with these reasons.")]
OfMetric = Annotated[str | None, Query(description="Only letters that this metric refused.")]
Since = Annotated[
    str | None,
    Query(description="Only letters written since: ISO 8601, seconds since the epoch, or how long ago (2h)."),
]
Positions = Annotated[list[str] | None, Query(description="Only the letters of these positions.")]


@router.get("/letters", response_model=LetterList, responses=_CSV)
async def list_letters(
    site: OfSite,
    topic: Topics = None,
    reason: Reasons = None,
    metric: OfMetric = None,
    since: Since = None,
    position: Positions = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 100,
    csv: AsCsv = False,
) -> LetterList | Response:
    """Dead letters: the event as it was sent, where it was, why it was refused and by which metrics."""
    client = await site.client()
    found = await client.dead_letters(topic or (), _chosen(reason, metric, since, position))
    letters = [Letter.of(letter) for letter in found[:limit]]
    return csv_answer(letters, "letters") if csv else LetterList(letters=letters, count=len(found))


@router.get("/letters/counts", response_model=LetterCounts, responses=_CSV)
async def count_letters(
    site: OfSite,
    topic: Topics = None,
    reason: Reasons = None,
    metric: OfMetric = None,
    since: Since = None,
    csv: AsCsv = False,
) -> LetterCounts | Response:
    """How many dead letters there are by topic, reason and metric, and how many of them were replayed."""
    client = await site.client()
    found = await client.count_dead_letters(topic or (), _chosen(reason, metric, since, None))
    return csv_answer(found, "letters") if csv else LetterCounts(counts=found)


@router.post("/letters")
async def replay_letters(site: OfSite, asked: ReplayRequest) -> ReplayAnswer:
    """Send dead letters to their topic again, each once, after the metric or the event was mended."""
    if not asked.dry_run:
        site.may_write()
    if not (asked.reasons or asked.metric or asked.since or asked.positions or asked.all):
        raise QuestionError("say which letters: positions, reasons, metric, since, or all")
    done = await (await site.client()).replay_dead_letters(
        asked.topic,
        _chosen(asked.reasons, asked.metric, asked.since, asked.positions),
        payload=None if asked.payload is None else asked.payload.encode(),
        again=asked.again,
        dry_run=asked.dry_run,
    )
    return ReplayAnswer(
        topic=done.topic,
        letters=[Letter.of(letter) for letter in done.letters],
        sent=done.sent,
        left_out=done.left_out,
        warnings=list(done.warnings),
    )


def _chosen(
    reasons: list[str] | None, metric: str | None, since: str | None, positions: list[str] | None
) -> Chosen:
    return Chosen(
        reasons=tuple(reasons or ()),
        metric=metric,
        since=None if since is None else written_since(since),
        positions=tuple(positions or ()),
    )


def written_since(text: str) -> datetime:
    """An instant, from ISO 8601, seconds since the epoch, or how long ago it was. Raises QuestionError."""
    try:
        return datetime.now(UTC) - timedelta(microseconds=parse_duration(text))
    except (MetricError, OverflowError):
        pass
    for unit in ("s", "iso"):
        try:
            micros = to_microseconds(float(text) if unit == "s" else text, unit)
        except (EventError, ValueError):
            continue
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)
    raise QuestionError(
        f"since={text!r}: write ISO 8601, seconds since the epoch, or how long ago, such as 2h"
    )
