"""Apprise: Slack, Telegram, mail and some 170 others, each by its URL.

Apprise tries once and says yes or no; why not is only in its log. There is no number by which a receiver
could know a message that comes twice, so the text ends with the episode and the number.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from io import StringIO

import apprise

from timeline_workers.errors import SettingsError
from timeline_workers.targets.secrets import Secrets
from timeline_workers.targets.sending import Answer, Parcel, Send, later
from timeline_workers.targets.target import AppriseTarget

# What Apprise logs while one thread sends would be in the capture of another, too.
_ALONE = threading.Lock()
# And what it logs has URLs in it, so nobody else is to have it.
_LOG = logging.getLogger("apprise")
_LOG.addHandler(logging.NullHandler())
_LOG.propagate = False
# Of what it says for debugging, the reason that the other side gave.
_REASONS = ("Socket Exception", "Response Details")


@asynccontextmanager
async def opened(target: AppriseTarget, sink: str, secrets: Secrets) -> AsyncIterator[Send]:
    """See ``sending.Send``."""
    url = secrets.secret(target.url)
    secrets.hide_parts(url)

    async def send(parcels: Sequence[Parcel]) -> list[Answer]:
        return await asyncio.to_thread(_all, url, parcels)

    yield send


def _all(url: str, parcels: Sequence[Parcel]) -> list[Answer]:
    made = apprise.Apprise()
    if not made.add(url):
        raise SettingsError("what stands there is no URL that Apprise knows; see its list of services")
    return [_one(made, parcel) for parcel in parcels]


def _one(made: apprise.Apprise, parcel: Parcel) -> Answer:
    message = parcel.told.message
    if message.is_firing:
        kind = apprise.NotifyType.FAILURE if message.page else apprise.NotifyType.WARNING
    else:
        kind = apprise.NotifyType.SUCCESS
    body = f"{parcel.told.text}\n\n{parcel.name}"
    with _ALONE, _capture() as log:
        try:
            done = made.notify(title=parcel.told.title, body=body, notify_type=kind)
        except Exception as error:  # a plugin's library may raise anything
            return later(error)
        said = _reason(log.getvalue())
    return Answer(verdict="taken" if done else "later", why=said or ("sent" if done else "it was not sent"))


def _capture() -> AbstractContextManager[StringIO]:
    found: AbstractContextManager[StringIO] = apprise.LogCapture(  # type: ignore[no-untyped-call]
        level=logging.DEBUG, fmt="%(levelname)s %(message)s"
    )
    return found


def _reason(log: str) -> str:
    lines = (line.partition(" ") for line in log.splitlines())
    return "; ".join(
        said.strip()
        for level, _, said in lines
        if level in ("WARNING", "ERROR", "CRITICAL") or said.startswith(_REASONS)
    )
