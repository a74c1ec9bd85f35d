"""The codec server answers Temporal's own command line and UI, and nobody else."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from google.protobuf.json_format import MessageToDict
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.client import Client

from tests.access.test_encrypted import METRIC, NEW, OLD, events, key, server
from tests.workflows.cluster import feed, result_workers, until_everything_arrived
from timeline_workers.cli.codec_server_command import UI_ORIGIN
from timeline_workers.servers.temporal.codec import EncryptionCodec
from timeline_workers.servers.temporal.codec_server import codec_application
from timeline_workers.servers.temporal.temporal_client import connect
from timeline_workers.settings.credentials import parse_keys
from timeline_workers.settings.timeline_settings import Settings
from workflows.client import ask
from workflows.worker import build_worker

PLAIN = Payload(metadata={"encoding": b"json/plain"}, data=b'"words"')


def in_json(*payloads: Payload) -> dict[str, Any]:
    return MessageToDict(Payloads(payloads=payloads))


@contextmanager
def codec_server(**environment: str) -> Iterator[str]:
    """`timeline codec-server` as a program of its own; gives its URL."""
    program = subprocess.Popen(
        [sys.executable, "-m", "timeline_workers", "codec-server", "--port", "0"],
        env={**os.environ, **environment},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert program.stderr is not None
        said = program.stderr.readline().split()
        assert said[:2] == ["codec", "server"]
        yield said[2]
    finally:
        program.terminate()
        assert program.wait(30) == 0
        program.stderr.close()


async def temporal(*arguments: str, environment: Mapping[str, str]) -> dict[str, Any]:
    """What Temporal's command line says, in JSON."""
    program = shutil.which("temporal")
    assert program is not None
    asked = await asyncio.create_subprocess_exec(
        program,
        *arguments,
        "--output",
        "json",
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, complaint = await asked.communicate()
    assert asked.returncode == 0, complaint
    found: dict[str, Any] = json.loads(out)
    return found


@pytest.mark.integration
async def test_temporals_command_line_asks_through_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """`temporal workflow query --codec-endpoint …` is answered in plain words, a refusal too, and without
    the endpoint neither it nor the server can read the answer.
    """
    monkeypatch.setenv("TIMELINE_CODEC_KEYS", NEW)
    monkeypatch.setenv("TIMELINE_CODEC_TOKEN", "let-me-in")
    async with server() as address:
        client: Client = await connect(address)
        async with build_worker(client, Settings()):
            await ask.apply(client, METRIC)
            await feed(client, METRIC, events(1))
            await until_everything_arrived(client, METRIC, events(1))
            worker = result_workers(METRIC)[0]
            query = ["workflow", "query", "--address", address, "--workflow-id", worker, "--type", "value_at"]
            known, unknown = (
                ["--input", json.dumps({"key": name, "at": 15})]
                for name in ("viewer-of-great-renown", "nobody-called-so")
            )
            bare = {**os.environ, "HOME": "/nonexistent"}
            with codec_server() as url:
                through = [*query, "--codec-endpoint", url, "--codec-auth", "Bearer let-me-in"]
                answer = await temporal(*through, *known, environment=bare)
                assert answer["queryResult"][0]["value"] == 5
                refusal = await temporal(*through, *unknown, environment=bare)
                assert refusal["queryResult"][0]["error"].startswith("no key 'nobody-called-so'")
            sealed = (await temporal(*query, *known, environment=bare))["queryResult"]["payloads"][0]
            assert base64.b64decode(sealed["metadata"]["encoding"]) == b"binary/encrypted"


async def test_a_payload_comes_back_as_it_was() -> None:
    """What is encoded is encrypted with the first key, and decoded with whichever it names; what is not
    encrypted is left as it is.
    """
    old = await EncryptionCodec(parse_keys(OLD)).encode([PLAIN])
    app = codec_application(EncryptionCodec(parse_keys(f"{NEW} {OLD}")), [UI_ORIGIN])
    async with TestClient(TestServer(app)) as browser:
        encoded = await (await browser.post("/encode", json=in_json(PLAIN))).json()
        assert base64.b64decode(encoded["payloads"][0]["metadata"]["encryption-key-id"]) == b"2026-11"
        both = {"payloads": [*encoded["payloads"], *in_json(*old, PLAIN)["payloads"]]}
        assert await (await browser.post("/decode", json=both)).json() == in_json(PLAIN, PLAIN, PLAIN)


async def test_only_the_ui_may_ask_from_a_browser() -> None:
    """The UI's origin is allowed, also before the request proper; any other is refused with what to do."""
    app = codec_application(EncryptionCodec(parse_keys(NEW)), [UI_ORIGIN])
    async with TestClient(TestServer(app)) as browser:
        asked = {"Origin": UI_ORIGIN, "Access-Control-Request-Headers": "x-namespace,content-type"}
        before = await browser.options("/decode", headers=asked)
        assert before.status == 204
        assert before.headers["Access-Control-Allow-Origin"] == UI_ORIGIN
        assert "x-namespace" in before.headers["Access-Control-Allow-Headers"]
        answer = await browser.post("/decode", json=in_json(PLAIN), headers={"Origin": UI_ORIGIN})
        assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (200, UI_ORIGIN)
        other = {"Origin": "http://elsewhere.example"}
        refused = await browser.post("/decode", json=in_json(PLAIN), headers=other)
        assert refused.status == 403
        assert "--origin http://elsewhere.example" in (await refused.json())["message"]
        assert "Access-Control-Allow-Origin" not in refused.headers


@pytest.mark.parametrize(("given", "status"), [(None, 401), ("Bearer wrong", 401), ("Bearer right", 200)])
async def test_with_a_token_it_must_be_shown(given: str | None, status: int) -> None:
    """No request without the token is answered."""
    app = codec_application(EncryptionCodec(parse_keys(NEW)), [UI_ORIGIN], token="right")
    headers = {} if given is None else {"Authorization": given}
    async with TestClient(TestServer(app)) as asking:
        answer = await asking.post("/decode", json=in_json(PLAIN), headers=headers)
        assert answer.status == status


async def test_what_cannot_be_decoded_is_refused_with_the_reason() -> None:
    """An unknown key is named; what is no request of Temporal's, and other paths, are told apart."""
    sealed = await EncryptionCodec(parse_keys(key("2027-01", 3))).encode([PLAIN])
    app = codec_application(EncryptionCodec(parse_keys(NEW)), [UI_ORIGIN])
    async with TestClient(TestServer(app)) as asking:
        unknown = await asking.post("/decode", json=in_json(*sealed))
        assert (unknown.status, "'2027-01'" in (await unknown.json())["message"]) == (422, True)
        for body in (
            b"",
            b"[]",
            b'{"payloads": 1}',
            b'{"payload": []}',
            b"\xff",
            b'{"payloads":[{"data":"a"}]}',
        ):
            wrong = await asking.post("/decode", data=body)
            assert (wrong.status, "payloads" in (await wrong.json())["message"]) == (400, True), body
        assert (await asking.post("/elsewhere", json={})).status == 404
        assert (await asking.get("/decode")).status == 405
