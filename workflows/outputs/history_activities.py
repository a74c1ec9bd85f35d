"""The activity of ``HistoryOutput``: it is told a batch, and again the same until it has succeeded.

A batch is one append. Its stamp is the number of its first revision, which grows from batch to batch, so that
one that is stored already, or that an attempt long given up brings late, is not stored again.
"""

from __future__ import annotations

import asyncio

import structlog
from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from timeline_workers.errors import HistoryError
from timeline_workers.history.from_news import revisions_of
from timeline_workers.history.model import Gap, Revision, Writer
from timeline_workers.plan.history_workers import HistorySpec
from timeline_workers.plan.physical import GLOBAL
from timeline_workers.wire.news import unpack_news
from workflows.durable.activities import heartbeats

from .batches import Batch, unpack_batch, watermark_of
from .history_output import APPEND
from .open_stores import history_store

_log = structlog.get_logger(__name__)


@activity.defn(name=APPEND)
async def append_history(spec: HistorySpec, batch: bytes) -> int:
    """Store a batch, packed; returns how many revisions it has, 0 where it was stored before."""
    async with heartbeats():
        told = await asyncio.to_thread(unpack_batch, batch)
        revisions, gaps = await asyncio.to_thread(rendered, spec, told)
        try:
            store = await history_store()
            appended = await store.append_revisions(
                Writer(spec.worker_id, spec.node, spec.partitions),
                (told.first, 0),
                revisions,
                watermark=watermark_of(told),
                gaps=gaps,
            )
        except HistoryError as error:
            raise _failure(error) from None
        return len(revisions) if appended.fresh else 0


def _failure(error: HistoryError) -> ApplicationError:
    """Why nothing was stored, in words only: one with all that led to it is larger than Temporal keeps."""
    if not error.may_pass:
        return ApplicationError(str(error), type=type(error).__name__)
    _log.warning("history store does not answer; retrying", error=str(error))
    # Benign: each attempt fails while the store is away, and need not fill the log with tracebacks.
    return ApplicationError(str(error), type=type(error).__name__, category=ApplicationErrorCategory.BENIGN)


def rendered(spec: HistorySpec, batch: Batch) -> tuple[list[Revision], list[Gap]]:
    """What is in ``batch``, in order, and what of the node it says to be missing."""
    news = [unpack_news(packed) for packed in batch.news]
    gaps = [
        Gap(spec.node, *one.unheard, f"{spec.inputs[0][0]} had forgotten it before it was stored")
        for one in news
        if one.unheard is not None
    ]
    revisions = [revision for one in news for revision in revisions_of(one, groups=spec.partition == GLOBAL)]
    return revisions, gaps


HISTORY_ACTIVITIES = (append_history,)
