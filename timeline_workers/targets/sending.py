"""Sending: what a target is handed, and what it answered. A sender is a module of ``senders``.

Every call opens its target afresh and closes it: what is sent is rare, and a connection that is kept would
keep a secret that has been changed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from importlib import import_module
from typing import Any, Final, TypeAlias

import msgspec
from pydantic import BaseModel, ConfigDict

from timeline_workers.alerts.sink_messages import SinkMessage
from timeline_workers.alerts.webhook_request import Verdict, cloud_event
from timeline_workers.errors import SettingsError, StateError, TimelineError

from .secrets import Secrets
from .target import Target


class Parcel(msgspec.Struct, frozen=True):
    """A message on its way. ``number`` grows from message to message of a sink, and is another when the
    message is sent again."""

    number: int
    told: SinkMessage

    @property
    def name(self) -> str:
        """What tells it from all others: the episode, and its number within it."""
        return f"{self.told.message.episode}/{self.told.message.seq}"

    @property
    def event(self) -> dict[str, Any]:
        """The message as a CloudEvent."""
        return cloud_event(self.told.message, self.told.title, self.told.text)


class Answer(BaseModel):
    """What became of a message. ``why``: what the target said; ``after``: for how many microseconds it wants
    to be left alone.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    verdict: Verdict
    why: str = ""
    after: int | None = None


Send: TypeAlias = Callable[[Sequence[Parcel]], Awaitable[list[Answer]]]
"""Sends parcels of different keys; an answer for each, in their order."""
Opened: TypeAlias = AbstractAsyncContextManager[Send]
_MODULES: Final = {
    "webhook": ("webhook", "targets-http"),
    "alertmanager": ("alertmanager", "targets-http"),
    "apprise": ("apprise_url", "targets-apprise"),
    "pulsar": ("pulsar_messages", ""),
    "kafka": ("kafka_topic", "targets-kafka"),
    "postgres": ("postgres_rows", "targets-postgres"),
    "file": ("append_lines", ""),
    "stdout": ("append_lines", ""),
    "temporal": ("temporal_workflow", ""),
}
WHY_LENGTH: Final = 500


async def send(
    target: Target, sink: str, parcels: Sequence[Parcel], secrets: Secrets | None = None
) -> list[Answer]:
    """Send ``parcels``; ``sink``: who sends. Nothing is raised for what the target, its library or a secret
    lacks: that is an answer, without secrets."""
    found = Secrets() if secrets is None else secrets
    try:
        async with _open(target, sink, found) as sending:
            answers = await sending(parcels)
    except Exception as error:  # a sender's library may raise anything, also what names a secret
        answers = [Answer(verdict="later", why=_said(error))] * len(parcels)
    return [one.model_copy(update={"why": found.hidden(one.why)[:WHY_LENGTH]}) for one in answers]


def _open(target: Target, sink: str, secrets: Secrets) -> Opened:
    module, extra = _MODULES[target.what]
    try:
        opening: Callable[[Target, str, Secrets], Opened] = import_module(
            f".senders.{module}", __package__
        ).opened
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"targets of kind {target.what} need {error.name}, which is not installed for this worker "
            f"process: pip install 'timeline-workers[{extra}]'"
        ) from None
    return opening(target, sink, secrets)


def _said(error: Exception) -> str:
    if isinstance(error, TimelineError):
        return str(error)
    return f"{type(error).__name__}: {error}".rstrip(": ")


def later(error: Exception) -> Answer:
    """The answer of a target that does not answer."""
    return Answer(verdict="later", why=_said(error))


async def each(parcels: Sequence[Parcel], one: Callable[[Parcel], Awaitable[Answer]]) -> list[Answer]:
    """``one`` of every parcel, all at once."""
    return list(await asyncio.gather(*map(one, parcels)))


def pack_parcels(parcels: Iterable[Parcel]) -> bytes:
    """Encode; ``unpack_parcels`` reads it."""
    return msgspec.msgpack.encode(list(parcels))


def unpack_parcels(packed: bytes) -> list[Parcel]:
    """Reverse ``pack_parcels``. Raises StateError for other bytes."""
    try:
        return msgspec.msgpack.decode(packed, type=list[Parcel])
    except msgspec.MsgspecError as error:
        raise StateError(f"{len(packed)} bytes are no messages of a sink: {error}") from error
