"""TLS, client certificates and API keys to Temporal, as TEMPORAL_* says: a real TLS gateway before the real
dev server.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.access.certificates import Authority
from tests.access.gateway import gateway
from tests.access.test_encrypted import METRIC, events, server
from tests.workflows.cluster import feed, until_everything_arrived
from timeline_workers.errors import ConnectionFailedError
from timeline_workers.servers.temporal.temporal_client import connect
from timeline_workers.settings.timeline_settings import Settings
from workflows.client import ask
from workflows.worker import build_worker

pytestmark = pytest.mark.integration


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
async def address() -> AsyncIterator[str]:
    async with server() as found:
        yield found


def configure(monkeypatch: pytest.MonkeyPatch, **settings: str | Path) -> None:
    for name in [name for name in os.environ if name.startswith("TEMPORAL_")]:
        monkeypatch.delenv(name)
    for name, value in settings.items():
        monkeypatch.setenv(f"TEMPORAL_{name}", str(value))


async def test_a_private_authority_is_trusted_when_told(
    monkeypatch: pytest.MonkeyPatch, authority: Authority, address: str
) -> None:
    """With TEMPORAL_TLS_SERVER_CA_CERT_PATH everything runs over TLS; without it the certificate is refused,
    and without TLS at all the message says to try it.
    """
    async with gateway(address, *authority.issue("server", "127.0.0.1")) as front:
        configure(monkeypatch, ADDRESS=front.address, TLS_SERVER_CA_CERT_PATH=authority.certificate)
        client = await connect()
        async with build_worker(client, Settings()):
            await ask.apply(client, METRIC)
            await feed(client, METRIC, events(1))
            await until_everything_arrived(client, METRIC, events(1))
            assert [entry.metric for entry in await ask.registered(await connect())] == [METRIC]

        configure(monkeypatch, ADDRESS=front.address, TLS="true")
        with pytest.raises(
            ConnectionFailedError,
            match=r"(?s)certificate is not accepted: .*Give its authority as TEMPORAL_TLS_SERVER_CA",
        ):
            await connect()
        configure(monkeypatch, ADDRESS=front.address)
        with pytest.raises(ConnectionFailedError, match=r"does it want TLS\?\. Set TEMPORAL_TLS=true"):
            await connect()


async def test_the_certificate_must_name_the_host(
    monkeypatch: pytest.MonkeyPatch, authority: Authority, address: str
) -> None:
    """A certificate of another host is refused, unless TEMPORAL_TLS_SERVER_NAME says that it is meant."""
    async with gateway(address, *authority.issue("server", "temporal.example")) as front:
        trusted = {"ADDRESS": front.address, "TLS_SERVER_CA_CERT_PATH": authority.certificate}
        configure(monkeypatch, **trusted)
        with pytest.raises(
            ConnectionFailedError,
            match=r"(?s)certificate is not accepted: .*or give it as TEMPORAL_TLS_SERVER_NAME",
        ):
            await connect()
        configure(monkeypatch, **trusted, TLS_SERVER_NAME="temporal.example")
        assert await ask.registered(await connect()) == []


async def test_a_client_shows_its_certificate(
    monkeypatch: pytest.MonkeyPatch, authority: Authority, address: str, tmp_path: Path
) -> None:
    """A gateway that wants a client's certificate takes ours, and refuses none and one of another authority;
    the command line says so too.
    """
    certificate, key = authority.issue("us")
    stranger, strangers_key = Authority(tmp_path, "other").issue("stranger")
    front_certificate = authority.issue("server", "127.0.0.1")
    async with gateway(address, *front_certificate, clients_of=authority.certificate) as front:
        trusted = {"ADDRESS": front.address, "TLS_SERVER_CA_CERT_PATH": authority.certificate}
        configure(monkeypatch, **trusted, TLS_CLIENT_CERT_PATH=certificate, TLS_CLIENT_KEY_PATH=key)
        assert await ask.registered(await connect()) == []
        assert (await timeline("get")).returncode == 0

        configure(monkeypatch, **trusted)
        with pytest.raises(ConnectionFailedError, match="the server wants a client's certificate"):
            await connect()
        refused = await timeline("get")
        assert (refused.returncode, "TEMPORAL_TLS_CLIENT_CERT_PATH" in refused.stderr) == (4, True)

        configure(monkeypatch, **trusted, TLS_CLIENT_CERT_PATH=stranger, TLS_CLIENT_KEY_PATH=strangers_key)
        with pytest.raises(ConnectionFailedError, match="does not accept the client's certificate"):
            await connect()


async def timeline(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the `timeline` command; the gateway goes on meanwhile."""
    command = [sys.executable, "-m", "timeline_workers", *arguments]
    return await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, check=False, timeout=60
    )


async def test_an_api_key_arrives(
    monkeypatch: pytest.MonkeyPatch, authority: Authority, address: str
) -> None:
    """TEMPORAL_API_KEY goes along with every request, over TLS; a key that is refused is not shown, and the
    message says which setting to look at.
    """
    async with gateway(address, *authority.issue("server", "127.0.0.1"), api_key="right") as front:
        trusted = {"ADDRESS": front.address, "TLS_SERVER_CA_CERT_PATH": authority.certificate}
        configure(monkeypatch, **trusted, API_KEY="right")
        assert await ask.registered(await connect()) == []
        assert {request["authorization"] for request in front.requests} == {"Bearer right"}
        configure(monkeypatch, **trusted, API_KEY="expired-long-ago")
        with pytest.raises(
            ConnectionFailedError, match=r"(?s)the API key is not known.*TEMPORAL_API_KEY"
        ) as refused:
            await connect()
        assert "expired-long-ago" not in str(refused.value)


async def test_files_that_are_not_there_are_named(
    monkeypatch: pytest.MonkeyPatch, authority: Authority, address: str, tmp_path: Path
) -> None:
    """A certificate or key that cannot be read, or is none, is an error that says which setting."""
    missing = tmp_path / "missing.crt"
    configure(monkeypatch, ADDRESS=address, TLS_SERVER_CA_CERT_PATH=missing)
    with pytest.raises(ConnectionFailedError, match=r"missing\.crt"):
        await connect()
    certificate, _ = authority.issue("us")
    configure(monkeypatch, ADDRESS=address, TLS_CLIENT_CERT_PATH=certificate)
    with pytest.raises(ConnectionFailedError, match="TEMPORAL_TLS_CLIENT_KEY"):
        await connect()
    (tmp_path / "nothing.crt").write_text("nothing")
    async with gateway(address, *authority.issue("server", "127.0.0.1")) as front:
        configure(monkeypatch, ADDRESS=front.address, TLS_SERVER_CA_CERT_PATH=tmp_path / "nothing.crt")
        with pytest.raises(ConnectionFailedError, match=r"SERVER_CA_CERT_PATH .* cannot be read"):
            await connect()
    configure(monkeypatch, ADDRESS=address, TLS="true")
    with pytest.raises(ConnectionFailedError, match="If the server has no TLS, unset TEMPORAL_TLS"):
        await connect()
