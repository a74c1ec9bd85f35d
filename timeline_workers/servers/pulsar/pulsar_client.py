"""Connecting to Pulsar: where, with what credentials, and errors that say what to do.

The settings ``TIMELINE_PULSAR_*`` are those of ``credentials.PulsarAccess``: the URL, a token or a file of
it, certificates. With no URL, the embedded broker that `timeline dev` runs in the data directory is used.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pulsar

from timeline_workers.errors import ConnectionFailedError, TimelineError
from timeline_workers.metric.topics import topic_problem
from timeline_workers.servers.embedded.embedded_servers import require_running, what_happened
from timeline_workers.settings.credentials import PulsarAccess

from .broker_errors import no_answer

OPERATION_SECONDS = 10
KEEPER = "timeline-keep"
_DEFAULT_PORTS = {"pulsar": 6650, "pulsar+ssl": 6651, "http": 8080, "https": 8443}


class TopicError(TimelineError):
    """A topic cannot be used: it does not exist, its name is wrong, or access is refused."""


def pulsar_url() -> str:
    """The broker's URL: ``TIMELINE_PULSAR_URL``, else the running embedded broker's.

    Raises ConnectionFailedError when there is neither.
    """
    return PulsarAccess.from_env().url or require_running("Pulsar").pulsar


def connect(
    url: str | None = None, *, operation_seconds: int = OPERATION_SECONDS, quiet: bool = False
) -> pulsar.Client:
    """Return a client of the broker at ``url`` (default: as configured), which accepts connections.

    ``operation_seconds``: for how long a call tries again while the broker does not answer; ``quiet``: log
    nothing. The client library logs to ``TIMELINE_PULSAR_LOG``, by default its errors on standard output,
    where commands have their results.

    Raises ConnectionFailedError when the URL is not one of Pulsar's or nothing listens there, SettingsError
    when a setting is wrong.
    """
    access = PulsarAccess.from_env()
    address = access.url or pulsar_url() if url is None else url
    _check_listens(address)
    own = {"cert": _text(access.tls_cert), "key": _text(access.tls_key)}
    authentication: pulsar.Authentication | None = None
    if token := access.token_source():
        token()  # a file that cannot be read is told here, not in a thread of the client library
        authentication = pulsar.AuthenticationToken(token)
    elif access.tls_cert is not None:
        authentication = pulsar.AuthenticationTLS(own["cert"], own["key"])
    # Not Python's logging: the client logs from threads of its own that outlive the interpreter's shutdown.
    return pulsar.Client(
        address,
        authentication=authentication,
        operation_timeout_seconds=operation_seconds,
        connection_timeout_ms=3_000,
        tls_trust_certs_file_path=_text(access.tls_ca),
        tls_validate_hostname=access.tls_verify_hostname,
        tls_certificate_file_path=own["cert"],
        tls_private_key_file_path=own["key"],
        logger=_logger(access.log, quiet),
    )


def _logger(file: Path | None, quiet: bool) -> pulsar.FileLogger | pulsar.ConsoleLogger:
    if file is not None:
        return pulsar.FileLogger(pulsar.LoggerLevel.Warn, str(file))
    if quiet:
        return pulsar.FileLogger(pulsar.LoggerLevel.Error, os.devnull)
    return pulsar.ConsoleLogger(pulsar.LoggerLevel.Error)


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _check_listens(address: str) -> None:
    """Find a wrong address at once: the client library would retry for ten seconds and log each failure."""
    parts = urlsplit(address.split(",")[0])  # the first of several brokers
    try:
        default = _DEFAULT_PORTS[parts.scheme]
        host, port = parts.hostname, parts.port or default
    except (KeyError, ValueError):
        host, port = None, 0
    if not host:
        raise ConnectionFailedError(
            f"{address!r} is not a Pulsar URL; TIMELINE_PULSAR_URL looks like pulsar://127.0.0.1:6650"
        )
    if "," in address:
        return
    try:
        socket.create_connection((host, port), timeout=3).close()
    except OSError as error:
        advice = what_happened(address) or (
            "start one with `timeline dev`, or set TIMELINE_PULSAR_URL to one that runs"
        )
        raise ConnectionFailedError(
            f"no Pulsar broker answers at {address} ({error.strerror or error}); {advice}"
        ) from error


@contextmanager
def explained(client_url: str, topic: str) -> Iterator[None]:
    """Turn the client library's errors inside the block into ones that name the address, the topic and the
    fix.
    """
    try:
        yield
    except (pulsar.TopicNotFound, pulsar.SubscriptionNotFound) as error:
        raise TopicError(
            f"the topic {topic!r} does not exist at {client_url} and the broker does not create topics by "
            f"itself; "
            f"create it first: pulsar-admin topics create-partitioned-topic {topic} --partitions 4"
        ) from error
    except pulsar.InvalidTopicName as error:
        raise TopicError(
            f"{topic!r} is not a topic name; write name or persistent://tenant/namespace/name"
        ) from error
    except (pulsar.AuthenticationError, pulsar.AuthorizationError) as error:
        raise TopicError(
            f"the broker at {client_url} refuses access to the topic {topic!r} ({error}); "
            "check TIMELINE_PULSAR_TOKEN (or …_TOKEN_FILE, …_TLS_CERT) and the topic's permissions"
        ) from error
    except pulsar.ConsumerBusy as error:
        raise TopicError(
            f"another program holds the subscription to {topic!r} exclusively; stop it, or let it do the "
            f"feeding"
        ) from error
    except (pulsar.ConnectError, pulsar.Timeout, pulsar.LookupError, pulsar.ServiceUnitNotReady) as error:
        _check_listens(client_url)  # the broker may have gone meanwhile
        raise no_answer(client_url, error) from error


def check_broker(client: pulsar.Client, url: str, topic: str) -> int:
    """Ask the broker for ``topic`` and return its number of partitions (0: not partitioned).

    Raises ConnectionFailedError or TopicError.
    """
    if problem := topic_problem(topic):
        raise TopicError(problem)
    with explained(url, topic):
        partitions = client.get_topic_partitions(topic)
    return 0 if len(partitions) == 1 and "-partition-" not in partitions[0] else len(partitions)


def is_embedded(client: pulsar.Client, topic: str) -> bool:
    """Whether the broker is the embedded one: it takes a partition for a topic that has partitions.

    Other brokers have what it lacks: a topic's end, and retention. Raises pulsar.PulsarException.
    """
    partition = f"{topic}-partition-0"
    found: list[str] = client.get_topic_partitions(partition)
    return found[0].endswith(f"{partition}-partition-0")


def keep(client: pulsar.Client, url: str, topic: str) -> None:
    """Have the broker hold the messages of ``topic`` until an operator acknowledges them for ``KEEPER``.

    That is a subscription which nobody reads: without any, a broker deletes what its retention does not ask
    for, and by default it asks for nothing. The embedded broker keeps everything. Raises TopicError or
    ConnectionFailedError.
    """
    with explained(url, topic):
        if is_embedded(client, topic):
            return
        client.subscribe(
            topic,
            KEEPER,
            consumer_type=pulsar.ConsumerType.Shared,  # several feeders may do this at once
            initial_position=pulsar.InitialPosition.Earliest,
            receiver_queue_size=1,
        ).close()
