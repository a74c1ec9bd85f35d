"""Connecting to Temporal: the address, the namespace, TLS and keys come from Temporal's own settings.

``TEMPORAL_ADDRESS``, ``TEMPORAL_NAMESPACE``, ``TEMPORAL_API_KEY``, ``TEMPORAL_TLS…`` and ``temporal.toml``
profiles are read by ``temporalio.envconfig``. With no address there, the dev server that ``timeline dev``
runs is used.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
from collections.abc import Callable
from datetime import timedelta
from time import monotonic
from typing import Any

from temporalio.client import Client, GrpcCompression, HeaderCodecBehavior
from temporalio.envconfig import ClientConfigProfile
from temporalio.service import RPCError, RPCStatusCode

from timeline_workers.errors import ConnectionFailedError
from timeline_workers.settings.credentials import CodecAccess

from .codec import PLAIN, SealedRefusals, data_converter
from .connection_errors import explain
from .core_log import runtime

DATA_CONVERTER = PLAIN
_TELL_AGAIN = 30.0


@dataclasses.dataclass(frozen=True, slots=True)
class TemporalTarget:
    """Where to connect. ``origin`` says in words where the address came from."""

    address: str
    namespace: str
    options: dict[str, Any]
    origin: str


def temporal_target(address: str | None = None, namespace: str | None = None) -> TemporalTarget:
    """Decide where to connect: the arguments, then Temporal's settings, then the embedded dev server.

    Raises ConnectionFailedError when there is no address anywhere, or when the settings cannot be read.
    """
    try:
        options: dict[str, Any] = dict(ClientConfigProfile.load().to_client_connect_config())
    except (RuntimeError, ValueError, OSError) as error:
        raise ConnectionFailedError(
            f"Temporal's settings (TEMPORAL_*, temporal.toml) cannot be read: {error}; mend what "
            "it names, or unset it"
        ) from error
    configured = options.pop("target_host", None)
    configured_namespace = options.pop("namespace", None)
    origin = "the command line" if address else "TEMPORAL_ADDRESS or temporal.toml"
    chosen = address or configured
    if chosen is None:
        chosen = _embedded_address()
        origin = "the embedded dev server"
    if chosen is None:
        raise ConnectionFailedError(
            "no Temporal server is configured and none is running here; start one with `timeline dev`, "
            "or set TEMPORAL_ADDRESS to the host:port of yours"
        )
    return TemporalTarget(chosen, namespace or configured_namespace or "default", options, origin)


def _embedded_address() -> str | None:
    from timeline_workers.servers.embedded.embedded_servers import running_addresses

    running = running_addresses()
    return None if running is None else running.temporal


async def connect(
    address: str | None = None, namespace: str | None = None, *, timeout: timedelta = timedelta(seconds=10)
) -> Client:
    """Connect, and see that the namespace is there.

    Payloads are encrypted when there are keys for it (``temporal_codec``). Raises ConnectionFailedError that
    names the address, where it came from, and how to start a server, and SettingsError for wrong keys.
    """
    target = temporal_target(address, namespace)
    keys = CodecAccess.from_env().read()
    converter = data_converter(keys)
    # What is large in a request is compressed already, and once more would cost all three sides dear.
    options = {"grpc_compression": GrpcCompression.NONE, **target.options}
    if keys:
        options["header_codec_behavior"] = HeaderCodecBehavior.CODEC
        options["interceptors"] = [SealedRefusals(converter)]
    try:
        async with asyncio.timeout(timeout.total_seconds()):
            await _check_listens(target)
            client = await Client.connect(
                target.address,
                namespace=target.namespace,
                data_converter=converter,
                runtime=runtime(),
                **options,
            )
            await _check_namespace(client)
    except (RuntimeError, OSError, ValueError, RPCError, TimeoutError) as error:
        if isinstance(error, RPCError) and error.status is RPCStatusCode.NOT_FOUND:
            raise ConnectionFailedError(
                f"the Temporal server at {target.address} (from {target.origin}) has no namespace "
                f"{target.namespace!r}; create it with `temporal operator namespace create -n "
                f"{target.namespace}`, or set TEMPORAL_NAMESPACE to one that exists"
            ) from error
        from timeline_workers.servers.embedded.embedded_servers import what_happened

        problem = await explain(error, target.address, target.options)
        raise ConnectionFailedError(
            f"Temporal cannot be reached at {target.address}, namespace {target.namespace!r} "
            f"(from {target.origin}): {problem.reason}. {what_happened(target.address) or problem.fix}",
            may_pass=_may_pass(error),
        ) from error
    return client


async def connect_when_up(
    address: str | None = None, namespace: str | None = None, *, tell: Callable[[str], object]
) -> Client:
    """Connect as ``connect`` does, and wait for a server that does not answer yet: it may be on its way up.

    ``tell`` is given what is waited for, at once and every half a minute. It never gives up by itself: cancel
    it to stop. Raises ConnectionFailedError or SettingsError when waiting cannot help.
    """
    told_at = -_TELL_AGAIN
    pauses = itertools.chain((0.2, 0.5, 1.0), itertools.repeat(2.0))
    while True:
        try:
            return await connect(address, namespace)
        except ConnectionFailedError as error:
            if not error.may_pass:
                raise
            if monotonic() - told_at >= _TELL_AGAIN:
                told_at = monotonic()
                tell(f"waiting for Temporal: {error}")
        await asyncio.sleep(next(pauses))


def _may_pass(error: Exception) -> bool:
    if isinstance(error, RPCError):
        return error.status in (RPCStatusCode.UNAVAILABLE, RPCStatusCode.DEADLINE_EXCEEDED)
    if isinstance(error, RuntimeError):  # of the client library: something listens and is no Temporal yet
        return "get_system_info" in str(error) and "Unavailable" in str(error)
    return isinstance(error, OSError)


async def _check_listens(target: TemporalTarget) -> None:
    """Find a wrong address before the client library does, whose errors show its own insides."""
    host, colon, port = target.address.rpartition(":")
    if not colon or not host or "/" in target.address or not port.isdecimal() or int(port) > 65_535:
        raise ConnectionFailedError(
            f"{target.address!r} (from {target.origin}) is not the address of a Temporal server; write "
            "host:port, such as 127.0.0.1:7233"
        )
    _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def _check_namespace(client: Client) -> None:
    from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest

    await client.workflow_service.describe_namespace(
        DescribeNamespaceRequest(namespace=client.namespace), retry=False, timeout=timedelta(seconds=5)
    )
