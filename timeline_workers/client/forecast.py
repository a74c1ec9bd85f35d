"""A forecast of dead letters: what the applied metrics would make of them now, said before they are
replayed.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from temporalio.client import Client

from feeder.routing.router import MetricGroup, groups_of
from timeline_workers.columns.event_batch import Positions
from timeline_workers.errors import MetricError
from timeline_workers.events.times import from_microseconds
from timeline_workers.servers.pulsar.dead_letter_topic import Letter
from workflows.catalog.entries import plan_of
from workflows.client import ask
from workflows.worker_status import WorkerStatus

LATE = "late"


@dataclass(slots=True)
class Forecast:
    """Counts over N letters. ``again``: by (metrics, reason), with one message each, what metrics that had
    refused them would refuse again; ``twice``: by metrics, what others would apply that had not refused it;
    ``unknown``: metrics whose watermark could not be asked, with the reason.
    """

    letters: int
    readers: tuple[str, ...] = ()
    again: Counter[tuple[str, str]] = field(default_factory=Counter)
    twice: Counter[str] = field(default_factory=Counter)
    unknown: dict[str, str] = field(default_factory=dict)
    messages: dict[tuple[str, str], str] = field(default_factory=dict)

    def lines(self, topic: str) -> list[str]:
        """The forecast in words, a warning a line; none when all is well."""
        if not self.readers:
            return [f"warning: no applied metric reads {topic}: these letters would be applied by none"]
        found = []
        for (metrics, reason), count in sorted(self.again.items()):
            found.append(
                f"warning: {metrics} would refuse {count} of {self.letters} again ({reason}), such as: "
                f"{self.messages[metrics, reason]}"
            )
        for metrics, count in sorted(self.twice.items()):
            found.append(
                f"warning: {metrics} did not refuse {count} of {self.letters}: what it has of them would "
                "count twice"
            )
        for metrics, why in sorted(self.unknown.items()):
            found.append(
                f"warning: the watermark of {metrics} is not known ({why}); letters that came late are late "
                "again unless its source was given more allowed_lateness"
            )
        return found


async def forecast(
    client: Client, topic: str, letters: Sequence[Letter], payload: bytes | None = None
) -> Forecast:
    """Ask the catalog which metrics read ``topic``, their workers how far they are, and judge ``letters``.

    ``payload`` stands in the place of that of a single letter. Raises ConnectionFailedError.
    """
    entries, unusable = await ask.catalog(client)
    plans, unknown = [], {one.name: one.reason for one in unusable}
    for metric in (entry.metric for entry in entries if entry.metric.source.topic == topic):
        try:
            plans.append(plan_of(metric))
        except MetricError as error:
            unknown[metric.name] = str(error)
    found = Forecast(len(letters), tuple(p.metric.name for p in plans), unknown=unknown)
    for group in groups_of(plans).get(topic, []):
        asked = await ask.worker_status(client, group.commit_leaf()[0])
        status = WorkerStatus.model_validate(asked["status"] or {})
        names = ", ".join(group.metrics)
        if status.state is None:
            found.unknown[names] = asked["error"] or "it is fetching its state"
        marks = {p.partition: p.watermark for p in status.progress}
        _judge(found, group, names, letters, payload, marks)
    return found


def _judge(
    found: Forecast,
    group: MetricGroup,
    names: str,
    letters: Sequence[Letter],
    payload: bytes | None,
    watermarks: Mapping[int, int | None],
) -> None:
    """Add what ``group`` would make of the letters, given the watermarks of its source partitions."""
    decoder = group.reading.decoder()
    count = len(letters)
    decoded = decoder.decode(
        [letter.payload if payload is None else payload for letter in letters],
        Positions(np.zeros(count, np.int32), np.zeros(count, np.int64), np.arange(count)),
        np.full(count, time.time_ns() // 1000),
        group.source.max_ahead,
    )
    refused = {reject.row: (reject.reason, reject.message) for reject in decoded.rejects}
    for row, at in zip(decoded.rows.tolist(), decoded.batch.time.tolist(), strict=True):
        # A key's events stay in their partition, for it is chosen by the message key.
        mark = watermarks.get(letters[row].partition)
        if mark is not None and at < mark:
            message = (
                f"event time {from_microseconds(at, 'iso')} is below the watermark "
                f"{from_microseconds(mark, 'iso')}; a source with more allowed_lateness accepts it"
            )
            refused[row] = LATE, message
    for row, letter in enumerate(letters):
        had_refused = not set(group.metrics).isdisjoint(letter.metrics)
        if row not in refused:
            found.twice[names] += not had_refused
        elif had_refused:
            reason, message = refused[row]
            found.again[names, reason] += 1
            found.messages.setdefault((names, reason), message)
    found.twice += Counter()  # only what is above zero
