"""The production-shaped cluster that longer runs by hand use."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from temporalio.client import Client
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_fixed

from deploy.cluster import SERVICES, cluster
from deploy.cluster_ports import HIGHEST, LOWEST, free_ports
from deploy.cluster_server import ClusterUnavailableError, built

pytestmark = pytest.mark.integration


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory that other accounts can reach: PostgreSQL does not run as root."""
    made = Path(tempfile.mkdtemp(prefix="cluster-"))
    made.chmod(0o755)
    yield made
    for log in sorted(made.rglob("*.log")):  # shown when the test fails
        print(log.name, *log.read_text(errors="replace").splitlines()[-15:], sep="\n", file=sys.stderr)
    shutil.rmtree(made)


def pid_of(word: str, directory: Path) -> int:
    """The oldest process of this cluster, guards left out, that has ``word`` in its command line."""
    for process in sorted(Path("/proc").glob("[0-9]*"), key=lambda path: int(path.name)):
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if word in command and str(directory) in command and "embedded_guard" not in command:
            return int(process.name)
    raise AssertionError(f"no process of {directory} has {word!r} in its command line")


async def test_what_the_cluster_has_taken_survives_any_kill(directory: Path) -> None:
    """A workflow that was started is there after kill -9 of PostgreSQL and each service in turn, all of which
    come back by themselves, and when the whole cluster was stopped and is started again in its directory.
    """
    if not built():
        pytest.skip(
            "Temporal's server is not built: python -m deploy.cluster builds it (needs Go, some minutes)"
        )
    try:
        with cluster(directory) as first:
            client = await Client.connect(first.address)
            await client.start_workflow("Nothing", id="kept", task_queue="nobody")
            for part in ("postgres", *(f"--service {name}" for name in SERVICES)):
                os.kill(pid_of(part, directory), signal.SIGKILL)
                await described(client)
    except ClusterUnavailableError as error:
        pytest.skip(str(error))
    with cluster(directory) as second:
        assert second.address == first.address
        await described(await Client.connect(second.address))


async def described(client: Client) -> None:
    """Return when the cluster tells of the workflow, or raise its last error."""
    async for attempt in AsyncRetrying(
        retry=retry_if_exception_type(Exception),
        wait=wait_fixed(0.2),
        stop=stop_after_delay(300),
        reraise=True,
    ):
        with attempt:
            assert (await client.get_workflow_handle("kept").describe()).id == "kept"


def test_free_ports_lie_below_those_of_outgoing_connections() -> None:
    """A server that was killed must find its port free when it comes back."""
    ports = free_ports(20)
    assert len(set(ports)) == 20
    assert all(LOWEST <= port < HIGHEST < 32_768 for port in ports)
