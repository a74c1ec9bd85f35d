"""Webhooks: CloudEvents that are signed as Standard Webhooks says (``alerts.webhook_request``)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from timeline_workers.alerts.webhook_request import secret_bytes, webhook_request
from timeline_workers.targets.secrets import Secrets
from timeline_workers.targets.sending import Answer, Parcel, Send, each
from timeline_workers.targets.target import Webhook

from .http import bearer, now, post, session


@asynccontextmanager
async def opened(target: Webhook, sink: str, secrets: Secrets) -> AsyncIterator[Send]:
    """See ``sending.Send``."""
    url = secrets.address(target.url)
    keys = [secret_bytes(one) for one in secrets.secret(target.secret).split()] if target.secret else []
    more = bearer(secrets.secret(target.token) if target.token else None)
    async with session(target.timeout) as made:

        async def one(parcel: Parcel) -> Answer:
            told = parcel.told
            request = webhook_request(told.message, told.title, told.text, keys, now())
            return await post(made, url, request.headers | more, request.body)

        async def send(parcels: Sequence[Parcel]) -> list[Answer]:
            return await each(parcels, one)

        yield send
