"""Webhook requests: their signature, what is in them, and what answers mean."""

from __future__ import annotations

import hashlib
import hmac
import json
from base64 import b64decode, b64encode

import pytest

from timeline_workers.alerts.episodes import Message
from timeline_workers.alerts.webhook_request import (
    Verdict,
    cloud_event,
    secret_bytes,
    signature,
    verdict,
    webhook_request,
)
from timeline_workers.errors import SettingsError

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
MESSAGE = Message(
    kind="fire", rule="r", key="k", episode="r/k/5000000", seq=1, start=5_000_000, as_of=8_250_000, page=True
)
NOW = 1_614_265_330_500_000


def test_the_signature_is_that_of_the_standard() -> None:
    """Its own example."""
    found = signature(
        secret_bytes(SECRET), "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, b'{"test": 2432232314}'
    )
    assert found == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def verified(headers: dict[str, str], body: bytes, key: bytes) -> bool:
    """As a receiver does it, by the words of the standard."""
    signed = b".".join([headers["webhook-id"].encode(), headers["webhook-timestamp"].encode(), body])
    wanted = b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return any(one.split(",", 1) == ["v1", wanted] for one in headers["webhook-signature"].split())


def test_a_request_is_verified_and_none_that_was_changed() -> None:
    """By the new secret and by the one before it."""
    keys = [b"n" * 32, b"o" * 32]
    request = webhook_request(MESSAGE, "k", "It is.", keys, NOW)
    assert request.headers["webhook-id"] == "r/k/5000000/1"
    assert request.headers["webhook-timestamp"] == "1614265330"
    assert all(verified(request.headers, request.body, key) for key in keys)
    assert not verified(request.headers, request.body, b"x" * 32)
    assert not verified(request.headers, request.body.replace(b"fire", b"Fire"), keys[0])
    for name in ("webhook-id", "webhook-timestamp"):
        assert not verified(request.headers | {name: "1"}, request.body, keys[0])
    assert "webhook-signature" not in webhook_request(MESSAGE, "", "", [], NOW).headers


def test_the_body_is_a_cloud_event() -> None:
    event = json.loads(webhook_request(MESSAGE, "a title", "a text", [], NOW).body)
    assert event == cloud_event(MESSAGE, "a title", "a text")
    assert event.pop("data") == {
        "rule": "r",
        "key": "k",
        "kind": "fire",
        "episode": "r/k/5000000",
        "seq": 1,
        "firing": True,
        "start": "1970-01-01T00:00:05Z",
        "end": None,
        "page": True,
        "title": "a title",
        "text": "a text",
    }
    assert event == {
        "specversion": "1.0",
        "id": "r/k/5000000/1",
        "source": "/timeline/rules/r",
        "type": "timeline.alert.fire",
        "subject": "k",
        "time": "1970-01-01T00:00:08.250000Z",
        "datacontenttype": "application/json",
    }


@pytest.mark.parametrize(
    ("status", "after", "found"),
    [
        (200, "", ("taken", None)),
        (204, "9", ("taken", None)),
        (429, "120", ("later", 120_000_000)),
        (503, "Thu, 25 Feb 2021 15:02:11 GMT", ("later", 500_000)),
        (503, "Thu, 25 Feb 2021 15:00:00 GMT", ("later", 0)),
        (503, "soon", ("later", None)),
        (500, "", ("later", None)),
        (408, "", ("later", None)),
        (400, "9", ("never", None)),
        (410, "", ("never", None)),
        (302, "", ("never", None)),
    ],
)
def test_an_answer_says_whether_to_try_again(
    status: int, after: str, found: tuple[Verdict, int | None]
) -> None:
    assert verdict(status, {"retry-after": after}, NOW) == found


@pytest.mark.parametrize(
    "secret", ["", "whsec_", "whsec_c2hvcnQ=", "whsec_no base64!", SECRET.removeprefix("whsec_")]
)
def test_a_wrong_secret_is_not_shown(secret: str) -> None:
    with pytest.raises(SettingsError, match="openssl rand -base64 32") as caught:
        secret_bytes(secret)
    assert not secret.removeprefix("whsec_") or secret.removeprefix("whsec_") not in str(caught.value)
    assert secret_bytes(f" {SECRET}\n") == b64decode(SECRET.removeprefix("whsec_"))
