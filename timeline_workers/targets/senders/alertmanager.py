"""Alertmanager: an alert for each episode, by the second version of its API.

An alert has an explicit end far ahead, so that it need not be posted again, and is ended by posting it with
an end that has come. Alertmanager knows an alert by its labels: the episode is one of them, since late data
may take back one episode of a key while another goes on.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from timeline_workers.alerts.episodes import key_text
from timeline_workers.targets.secrets import Secrets
from timeline_workers.targets.sending import Answer, Parcel, Send, each
from timeline_workers.targets.target import Alertmanager

from .http import bearer, now, post, session

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FAR: Final = timedelta(days=10 * 365)
_WHY: Final = {
    "resolve": "it is over",
    "moved": "it is over; late data corrected when it was",
    "withdraw": "late data corrected it: it was not true",
    "merged": "late data joined it to another episode",
}


def alert(parcel: Parcel, labels: Mapping[str, str], at: int) -> dict[str, Any]:
    """The alert that says what a message does, at the present instant ``at``, microseconds."""
    message, present = parcel.told.message, _EPOCH + timedelta(microseconds=at)
    # Event time may be ahead of the clock; an alert that begins after its end would be refused.
    start = min(_EPOCH + timedelta(microseconds=message.start), present)
    about = {"summary": parcel.told.title, "description": parcel.told.text, "seq": str(message.seq)}
    if not message.is_firing:
        about["why"] = _WHY.get(message.kind, message.kind)
    if message.into is not None:
        about["into"] = message.into
    mine = {"alertname": message.rule, "key": key_text(message.key), "episode": message.episode}
    return {
        "labels": {**labels, **mine},
        "annotations": about,
        "startsAt": start.isoformat(),
        "endsAt": (present + _FAR if message.is_firing else present).isoformat(),
    }


@asynccontextmanager
async def opened(target: Alertmanager, sink: str, secrets: Secrets) -> AsyncIterator[Send]:
    """See ``sending.Send``."""
    url = secrets.address(target.url).rstrip("/") + "/api/v2/alerts"
    headers = {"content-type": "application/json"}
    headers |= bearer(secrets.secret(target.token) if target.token else None)
    async with session(target.timeout) as made:

        async def one(parcel: Parcel) -> Answer:
            body = msgspec.json.encode([alert(parcel, target.labels, now())])
            return await post(made, url, headers, body)

        async def send(parcels: Sequence[Parcel]) -> list[Answer]:
            return await each(parcels, one)

        yield send
