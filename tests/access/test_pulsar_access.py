"""Tokens, TLS and client certificates to Pulsar, as TIMELINE_PULSAR_* says: on a real broker that wants
them.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import socket
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy.pulsar_archive import PulsarUnavailableError
from deploy.pulsar_standalone import Broker, standalone
from tests.access.certificates import Authority
from tests.integration.conftest import PULSAR, chosen
from tests.integration.stack import event, running_stack
from timeline_workers.errors import ConnectionFailedError, TimelineError
from timeline_workers.metric.model import Metric, Source
from timeline_workers.servers.pulsar import pulsar_client
from timeline_workers.servers.pulsar.pulsar_client import TopicError, check_broker, connect, pulsar_url

pytestmark = pytest.mark.integration

SECRET = b"the secret of this broker's tokens, 32 bytes or more"
PROVIDERS = (
    "org.apache.pulsar.broker.authentication.AuthenticationProviderToken,"
    "org.apache.pulsar.broker.authentication.AuthenticationProviderTls"
)


def token(subject: str, secret: bytes = SECRET) -> str:
    """A JWT, signed as the broker expects."""

    def encoded(part: bytes) -> str:
        return base64.urlsafe_b64encode(part).decode().rstrip("=")

    said = ".".join(encoded(json.dumps(part).encode()) for part in ({"alg": "HS256"}, {"sub": subject}))
    return f"{said}.{encoded(hmac.digest(secret, said.encode(), hashlib.sha256))}"


@dataclass
class Guarded:
    """A broker that wants to know who asks: "feeder" by token or certificate may do everything."""

    broker: Broker
    tls_url: str
    authority: Authority
    directory: Path


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    if PULSAR not in chosen():
        pytest.skip("TIMELINE_TEST_BROKERS leaves the real Pulsar broker out")
    directory = tmp_path_factory.mktemp("guarded")
    authority = Authority(directory)
    certificate, key = authority.issue("broker", "127.0.0.1")
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {
        "authenticationEnabled": "true",
        "authorizationEnabled": "true",
        "authenticationProviders": PROVIDERS,
        "tokenSecretKey": f"data:;base64,{base64.b64encode(SECRET).decode()}",
        "superUserRoles": "admin,feeder",
        "brokerClientAuthenticationPlugin": "org.apache.pulsar.client.impl.auth.AuthenticationToken",
        "brokerClientAuthenticationParameters": f"token:{token('admin')}",
        "brokerServicePortTls": str(port),
        "tlsCertificateFilePath": str(certificate),
        "tlsKeyFilePath": str(key),
        "tlsTrustCertsFilePath": str(authority.certificate),
        "tlsRequireTrustedClientCertOnConnect": "false",
    }
    try:
        with standalone(directory / "data", settings=settings, token=token("admin")) as broker:
            yield Guarded(broker, f"pulsar+ssl://127.0.0.1:{port}", authority, directory)
    except PulsarUnavailableError as error:
        if chosen() == [PULSAR]:
            raise
        pytest.skip(str(error))


def configure(monkeypatch: pytest.MonkeyPatch, **settings: str | Path) -> None:
    for name in [name for name in os.environ if name.startswith("TIMELINE_PULSAR_")]:
        monkeypatch.delenv(name)
    for name, value in settings.items():
        monkeypatch.setenv(f"TIMELINE_PULSAR_{name}", str(value))


def ask() -> int:
    """Connect as configured and ask for a topic; returns its number of partitions."""
    with closing(connect()) as client:
        return check_broker(client, pulsar_url(), "any-topic")


def test_a_token_says_who_we_are(monkeypatch: pytest.MonkeyPatch, guarded: Guarded) -> None:
    """The broker lets us in with its token, given or in a file, and refuses none, a forged one, and one of
    somebody without rights; the message says which setting to look at.
    """
    url = guarded.broker.url
    configure(monkeypatch, URL=url, TOKEN=token("feeder"))
    assert ask() == 0
    file = guarded.directory / "token"
    file.write_text(token("feeder") + "\n")
    configure(monkeypatch, URL=url, TOKEN_FILE=file)
    assert ask() == 0
    monkeypatch.setattr(pulsar_client, "OPERATION_SECONDS", 2)  # for so long a client tries again
    forged = token("feeder", b"another secret of 32 bytes or more")
    for wrong in ({}, {"TOKEN": forged}, {"TOKEN": token("guest")}):
        configure(monkeypatch, URL=url, **wrong)
        with pytest.raises(TimelineError, match=r"credentials|refuses access") as refused:
            ask()
        assert "TIMELINE_PULSAR_TOKEN" in str(refused.value)
        assert all(value not in str(refused.value) for value in wrong.values())


def test_a_private_authority_is_trusted_when_told(monkeypatch: pytest.MonkeyPatch, guarded: Guarded) -> None:
    """TLS works with the broker's authority in TIMELINE_PULSAR_TLS_CA; without it, and with another one, the
    broker is not trusted.
    """
    configure(monkeypatch, URL=guarded.tls_url, TOKEN=token("feeder"), TLS_CA=guarded.authority.certificate)
    assert ask() == 0
    other = Authority(guarded.directory, "other").certificate
    for wrong in ({}, {"TLS_CA": other}):
        configure(monkeypatch, URL=guarded.tls_url, TOKEN=token("feeder"), **wrong)
        with pytest.raises(ConnectionFailedError, match="TIMELINE_PULSAR_TLS_CA"):
            ask()


def test_the_certificate_must_name_the_host(monkeypatch: pytest.MonkeyPatch, guarded: Guarded) -> None:
    """The broker's certificate is made out to 127.0.0.1: as localhost it is refused, unless names are not to
    be verified.
    """
    trusted = {
        "URL": guarded.tls_url.replace("127.0.0.1", "localhost"),
        "TOKEN": token("feeder"),
        "TLS_CA": guarded.authority.certificate,
    }
    configure(monkeypatch, **trusted)
    with pytest.raises(ConnectionFailedError, match="TIMELINE_PULSAR_TLS_VERIFY_HOSTNAME"):
        ask()
    configure(monkeypatch, **trusted, TLS_VERIFY_HOSTNAME="false")
    assert ask() == 0


def test_a_certificate_says_who_we_are(monkeypatch: pytest.MonkeyPatch, guarded: Guarded) -> None:
    """A client's certificate lets us in under its name, without a token and beside one; that of another
    authority, and one of somebody without rights, do not.
    """
    certificate, key = guarded.authority.issue("feeder")
    trusted = {"URL": guarded.tls_url, "TLS_CA": guarded.authority.certificate}
    configure(monkeypatch, **trusted, TLS_CERT=certificate, TLS_KEY=key)
    assert ask() == 0
    configure(monkeypatch, **trusted, TLS_CERT=certificate, TLS_KEY=key, TOKEN=token("feeder"))
    assert ask() == 0
    guest, guests_key = guarded.authority.issue("guest")
    configure(monkeypatch, **trusted, TLS_CERT=guest, TLS_KEY=guests_key)
    with pytest.raises(TopicError, match="refuses access"):
        ask()
    stranger, strangers_key = Authority(guarded.directory, "third").issue("feeder")
    configure(monkeypatch, **trusted, TLS_CERT=stranger, TLS_KEY=strangers_key)
    with pytest.raises(TimelineError):
        ask()


async def test_events_reach_answers_over_tls(
    monkeypatch: pytest.MonkeyPatch, guarded: Guarded, tmp_path: Path
) -> None:
    """The producer, the feeder and its dead letters all use the same settings: a metric runs end to end with
    TLS, a client's certificate and a token in a file.
    """
    certificate, key = guarded.authority.issue("feeder")
    file = guarded.directory / "token"
    file.write_text(token("feeder"))
    configure(
        monkeypatch,
        TOKEN_FILE=file,
        TLS_CA=guarded.authority.certificate,
        TLS_CERT=certificate,
        TLS_KEY=key,
    )
    monkeypatch.setattr(guarded.broker, "url", guarded.tls_url)
    source = Source.model_validate({"topic": "guarded-events", "key": "id", "time": "t"})
    metric = Metric(
        name="guarded", source=source, expression='duration_where(latest_event_to_state(state) == "on")'
    )
    with running_stack(tmp_path, broker=guarded.broker) as stack:
        stack.start_worker()
        stack.start_feeder()
        await stack.apply(metric)
        sent = [event("a", 10, state="on"), event("a", 15, state=["neither"]), event("a", 30, state="off")]
        await stack.applied(metric, stack.send(source.topic, sent))
        assert (await stack.ask(metric, "a", "value_at", {"at": 40}))["value"] == 20
        (letter,) = stack.dead_letters(source.topic, 1)
        assert letter.properties()["reason"] == "wrong-type"
