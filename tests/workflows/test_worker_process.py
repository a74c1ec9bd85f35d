"""A worker process begins when its Temporal is up, ends when it has no memory, and stops soon when asked."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import socket
import sys
import uuid
from collections.abc import AsyncIterator

import pytest
from temporalio.service import RPCError
from temporalio.testing import WorkflowEnvironment

from tests.workflows.cluster import dev_server
from timeline_workers.process.exit_codes import ExitCode
from timeline_workers.process.out_of_memory import is_out_of_memory
from workflows.durable.retention import warn_of_short_retention

pytestmark = pytest.mark.integration
BOUND = 60


@contextlib.asynccontextmanager
async def process(*arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A Python process; none is left afterwards."""
    made = await asyncio.create_subprocess_exec(
        sys.executable, "-m", *arguments, stderr=asyncio.subprocess.PIPE
    )
    try:
        yield made
    finally:
        with contextlib.suppress(ProcessLookupError):
            made.kill()
        await made.wait()


async def line(of: asyncio.subprocess.Process, saying: str) -> str:
    """The first line on the process's stderr that says it."""
    assert of.stderr is not None
    async with asyncio.timeout(BOUND):
        while text := (await of.stderr.readline()).decode():
            if saying in text:
                return text
    raise AssertionError(f"it never said {saying!r}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.mark.parametrize("where", ["init", "signal", "query", "activity"])
async def test_a_worker_without_memory_ends_and_says_so(where: str) -> None:
    """Wherever it is that the memory is missing."""
    queue = uuid.uuid4().hex
    async with dev_server() as client:
        address = client.service_client.config.target_host
        async with process("tests.workflows.hungry_worker", address, queue) as worker:
            await line(worker, "worker process started")
            handle = await client.start_workflow("Hungry", where, id=queue, task_queue=queue)
            if where == "signal":
                await handle.signal("take")
            asking = asyncio.create_task(handle.query("hunger")) if where == "query" else None
            assert "out of memory" in await line(worker, "error:")
            async with asyncio.timeout(BOUND):
                assert await worker.wait() == ExitCode.OUT_OF_MEMORY
            if asking is not None:
                asking.cancel()
                await asyncio.gather(asking, return_exceptions=True)


def test_errors_of_missing_memory_are_recognised() -> None:
    """Also when others have been raised from it."""
    decoding = RuntimeError("decoding")
    decoding.__cause__ = MemoryError()
    assert is_out_of_memory(decoding)
    assert is_out_of_memory(ExceptionGroup("some", [ValueError(), ExceptionGroup("of them", [decoding])]))
    assert not is_out_of_memory(RuntimeError("decoding"))
    assert not is_out_of_memory(None)


async def test_a_worker_waits_for_temporal_and_stops() -> None:
    """It says what it waits for; it leaves by itself, having finished what it was at."""
    port = free_port()
    address = f"127.0.0.1:{port}"
    async with process("timeline_workers", "worker", "--address", address) as worker:
        said = await line(worker, "waiting for Temporal")
        assert address in said
        async with await WorkflowEnvironment.start_local(
            dev_server_existing_path=shutil.which("temporal"), port=port, dev_server_log_level="error"
        ):
            await line(worker, "worker process started")
            worker.send_signal(signal.SIGTERM)
            await line(worker, "worker process stopped")
            async with asyncio.timeout(BOUND):
                assert await worker.wait() == 0


async def test_a_waiting_worker_stops_when_asked() -> None:
    """There is nothing to finish."""
    async with process("timeline_workers", "worker", "--address", "127.0.0.1:9") as worker:
        await line(worker, "waiting for Temporal")
        worker.send_signal(signal.SIGTERM)
        async with asyncio.timeout(BOUND):
            assert await worker.wait() == 0


async def test_a_short_namespace_retention_is_warned_of(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With its name, how long it keeps them, and what to do."""
    from google.protobuf.duration_pb2 import Duration
    from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest
    from temporalio.client import Client

    async with dev_server() as client:
        await warn_of_short_retention(client)
        assert "retention" not in capsys.readouterr().out
        await client.workflow_service.register_namespace(
            RegisterNamespaceRequest(
                namespace="forgetful", workflow_execution_retention_period=Duration(seconds=3600)
            )
        )
        other = Client(client.service_client, namespace="forgetful")
        async with asyncio.timeout(BOUND):
            while "1:00:00" not in (said := capsys.readouterr().out):
                with contextlib.suppress(RPCError):  # a new namespace is known a little later
                    await warn_of_short_retention(other)
        assert "temporal operator namespace update --retention 72h -n forgetful" in said


async def test_a_worker_whose_temporal_stands_still_leaves_when_asked() -> None:
    """The client library alone would wait for half a minute; nothing is lost, so the exit code is 0."""
    temporal = shutil.which("temporal")
    assert temporal is not None
    port = free_port()
    server = await asyncio.create_subprocess_exec(
        *(temporal, "server", "start-dev", "--headless", "--port", str(port), "--log-level", "never"),
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        async with process("timeline_workers", "worker", "--address", f"127.0.0.1:{port}") as worker:
            await line(worker, "worker process started")
            server.send_signal(signal.SIGSTOP)
            worker.send_signal(signal.SIGTERM)
            await line(worker, "another process retries them")
            async with asyncio.timeout(BOUND):
                assert await worker.wait() == 0
    finally:
        server.kill()
        await server.wait()
