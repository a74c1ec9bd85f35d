"""Webhook requests: a message as a CloudEvent, signed as Standard Webhooks says, and what an answer means.

The body is a CloudEvents 1.0 event in JSON. ``webhook-id`` is the episode and the number of the message, so
that a receiver that keeps the ids it has seen takes each message once. Pure: whoever sends gives the time.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Final, Literal as Choice, TypeAlias

import msgspec

from timeline_workers.errors import SettingsError

from .episodes import Message, key_text

PREFIX: Final = "whsec_"
_LEAST_BYTES, _MOST_BYTES = 24, 64  # of a secret, as the standard wants it
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

Verdict: TypeAlias = Choice["taken", "later", "never"]


@dataclass(frozen=True, slots=True)
class WebhookRequest:
    """What is sent: ``headers`` and ``body`` of a POST."""

    headers: dict[str, str]
    body: bytes


def webhook_request(
    message: Message, title: str, text: str, secrets: Sequence[bytes], now: int
) -> WebhookRequest:
    """The request that tells ``message`` at ``now``, microseconds; ``secrets``: the newest first, and older
    ones for as long as a receiver may still have them; none: it is not signed."""
    name = f"{message.episode}/{message.seq}"
    body = msgspec.json.encode(cloud_event(message, title, text))
    seconds = now // 1_000_000
    headers = {
        "content-type": "application/cloudevents+json; charset=utf-8",
        "webhook-id": name,
        "webhook-timestamp": str(seconds),
    }
    if secrets:
        headers["webhook-signature"] = " ".join(signature(one, name, seconds, body) for one in secrets)
    return WebhookRequest(headers, body)


def cloud_event(message: Message, title: str, text: str) -> dict[str, Any]:
    """``message`` as a CloudEvent; its ``time`` is the as-of instant, times are ISO 8601 in UTC."""
    data = {
        "rule": message.rule,
        "key": message.key,
        "kind": message.kind,
        "episode": message.episode,
        "seq": message.seq,
        "firing": message.is_firing,
        "start": _time(message.start),
        "end": None if message.end is None else _time(message.end),
        "page": message.page,
        "title": title,
        "text": text,
    }
    return {
        "specversion": "1.0",
        "id": f"{message.episode}/{message.seq}",
        "source": f"/timeline/rules/{message.rule}",
        "type": f"timeline.alert.{message.kind}",
        "subject": key_text(message.key),
        "time": _time(message.as_of),
        "datacontenttype": "application/json",
        "data": data if message.into is None else data | {"into": message.into},
    }


def secret_bytes(secret: str) -> bytes:
    """The key that ``whsec_…`` stands for. Raises SettingsError, which does not show it."""
    wanted = f"a webhook secret is {PREFIX} and the base64 of {_LEAST_BYTES} to {_MOST_BYTES} bytes"
    make = "make one with: openssl rand -base64 32"
    try:
        key = base64.b64decode(secret.strip().removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise SettingsError(f"{wanted}, and this is no base64; {make}") from None
    if not secret.strip().startswith(PREFIX):
        raise SettingsError(
            f"{wanted}, and this does not begin with {PREFIX}; {make}, and put {PREFIX} before it"
        )
    if not _LEAST_BYTES <= len(key) <= _MOST_BYTES:
        raise SettingsError(f"{wanted}, and this has {len(key)}; {make}")
    return key


def signature(key: bytes, name: str, seconds: int, body: bytes) -> str:
    """The signature of version 1: an HMAC with SHA-256 over id, timestamp and body."""
    signed = f"{name}.{seconds}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


def verdict(status: int, headers: Mapping[str, str], now: int) -> tuple[Verdict, int | None]:
    """What the HTTP ``status`` of an answer means, and for how many microseconds the receiver wants to be
    left alone, as far as ``retry-after`` says; ``headers`` have their names in lower case.

    Taken is 2xx. Later: 408, 425, 429 and 5xx. Never: everything else, redirections too, as a secret belongs
    to one address.
    """
    if 200 <= status < 300:
        return "taken", None
    if status in (408, 425, 429) or status >= 500:
        return "later", _pause(headers.get("retry-after", ""), now)
    return "never", None


def _pause(text: str, now: int) -> int | None:
    text = text.strip()
    if text.isascii() and text.isdigit():
        return int(text[:9]) * 1_000_000
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0, (at.replace(tzinfo=at.tzinfo or UTC) - _EPOCH) // _MICROSECOND - now)


def _time(instant: int) -> str:
    return (_EPOCH + instant * _MICROSECOND).isoformat().replace("+00:00", "Z")
