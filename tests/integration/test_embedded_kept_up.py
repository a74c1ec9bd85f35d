"""Embedded servers that end by themselves, and a disk that runs full: what their owner does and says."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pulsar
import pytest
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

from producer.send import SendError, to_pulsar
from tests.integration.stack import DEADLINE, event, eventually
from tests.integration.test_pulsar_dev import PORTS, environment, gone_in_the_end, run
from timeline_workers.errors import ConnectionFailedError, TimelineError
from timeline_workers.process.supervisor import Supervisor
from timeline_workers.servers.embedded.embedded_servers import (
    BROKER,
    PROCESSES,
    TEMPORAL,
    EmbeddedError,
    embedded,
)
from timeline_workers.servers.pulsar.pulsar_client import connect as connect_pulsar
from timeline_workers.servers.temporal.temporal_client import connect as connect_temporal

pytestmark = pytest.mark.integration

ANY_PORTS = {"temporal_port": 0, "ui_port": 0, "pulsar_port": 0}
MIB = 2**20


def until(fact: Callable[[], object], seconds: float = DEADLINE) -> None:
    """Return when ``fact()`` is true; AssertionError after ``seconds``."""
    held = Retrying(
        retry=retry_if_result(lambda found: not found),
        wait=wait_fixed(0.1),
        stop=stop_after_delay(seconds),
        retry_error_callback=lambda _: False,
    )(fact)
    assert held, fact


def processes(directory: Path) -> dict[str, dict[str, object]]:
    return {one["name"]: one for one in json.loads((directory / PROCESSES).read_bytes())}


async def test_servers_that_are_killed_come_back_where_they_were(tmp_path: Path) -> None:
    """Both servers, killed with -9, serve again on their addresses with what they had; each end is reported
    with its signal.
    """
    said: list[str] = []
    with embedded(tmp_path, **ANY_PORTS, supervisor=Supervisor(tell=said.append, patience=60)) as servers:
        to_pulsar([event("a", 1)], "kept", url=servers.pulsar)
        for kills in (1, 2):
            for one in processes(tmp_path).values():
                os.kill(int(str(one["pid"])), signal.SIGKILL)
            until(lambda kills=kills: {p["restarts"] for p in processes(tmp_path).values()} == {kills})
            until(lambda: answers(servers.pulsar))
            await eventually(lambda: answers_temporal(servers.temporal))
        to_pulsar([event("a", 2)], "kept", url=servers.pulsar)
        client = connect_pulsar(servers.pulsar)
        reader = client.create_reader("kept", pulsar.MessageId.earliest)
        assert [json.loads(reader.read_next(20_000).data())["t"] for _ in range(2)] == [1, 2]
        client.close()
    for name in (BROKER, TEMPORAL):
        assert any(line.startswith(f"{name} ended with signal SIGKILL; starting it again") for line in said)


def answers(url: str) -> bool:
    try:
        client = connect_pulsar(url)
        client.get_topic_partitions("any")
        client.close()
    except (TimelineError, pulsar.PulsarException):
        return False
    return True


def refusal(url: str) -> str:
    """Why nobody can connect to the broker; nothing when one can."""
    try:
        connect_pulsar(url).close()
    except ConnectionFailedError as error:
        return str(error)
    return ""


async def answers_temporal(address: str) -> bool:
    try:
        await connect_temporal(address)
    except ConnectionFailedError:
        return False
    return True


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 96 MiB, 30 of which are taken by the file ``ballast``."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=96m", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no file system may be mounted here: {mounted.stderr.decode().strip()}")
    try:
        (disk / "ballast").write_bytes(bytes(30 * MIB))
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_nothing_confirmed_is_lost_on_a_full_disk(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The broker is stopped while there is room for what it is writing, so producers hear of no success any
    more; when there is more room it is started again, and has every message that it has confirmed.
    """
    monkeypatch.setenv("TIMELINE_MIN_FREE_BYTES", str(24 * MIB))
    monkeypatch.setenv("TIMELINE_DATA_DIR", str(small_disk / "data"))
    said: list[str] = []
    confirmed: list[int] = []
    directory = small_disk / "data"

    def held() -> bool:
        return processes(directory)[BROKER]["state"] == "held"

    with embedded(directory, **ANY_PORTS, supervisor=Supervisor(tell=said.append)) as servers:
        client = connect_pulsar(servers.pulsar)
        producer = client.create_producer(
            "full", batching_enabled=False, block_if_queue_full=False, send_timeout_millis=2_000,
            max_pending_messages=100,
        )  # fmt: skip

        def noted(number: int) -> Callable[[pulsar.Result, pulsar.MessageId], None]:
            return lambda result, _: confirmed.append(number) if result == pulsar.Result.Ok else None

        sent = 0
        while not held():
            with suppress(pulsar.PulsarException):  # the queue is full, or nothing answers any more
                producer.send_async(sent.to_bytes(8, "big") + os.urandom(8_000), noted(sent))
                sent += 1
            assert sent < 12_000, "more than the disk holds was taken"
        with pytest.raises(SendError, match="are kept free"):
            to_pulsar([event("a", 1)], "full", url=servers.pulsar)
        until(lambda: f"process {os.getpid()}" in refusal(servers.pulsar))
        assert "has stopped it: the disk" in refusal(servers.pulsar)
        client.close()
        assert os.statvfs(small_disk).f_bavail > 0
        (small_disk / "ballast").unlink()
        until(lambda: processes(directory)[BROKER]["state"] == "running" and answers(servers.pulsar))
        assert set(confirmed) <= read_back(servers.pulsar, "full", len(set(confirmed)))
    assert len(confirmed) > 1_000
    assert said[0].startswith(f"{BROKER} is stopped: the disk of {directory} has")
    assert said[1].startswith(f"{BROKER} is started again:")


def read_back(url: str, topic: str, wanted: int) -> set[int]:
    """The numbers of the messages of ``topic``, from a Reader that is opened again when it stops early."""
    client = connect_pulsar(url)
    found: set[int] = set()
    at, idle = pulsar.MessageId.earliest, 0
    while len(found) < wanted and idle < 5:
        before = len(found)
        reader = client.create_reader(topic, at)
        with suppress(pulsar.Timeout):
            while True:
                message = reader.read_next(2_000)
                found.add(int.from_bytes(message.data()[:8], "big"))
                at = message.message_id()
        reader.close()
        idle = 0 if len(found) > before else idle + 1
    client.close()
    return found


def test_a_full_disk_is_refused_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full at the start is refused."""
    monkeypatch.setenv("TIMELINE_MIN_FREE_BYTES", str(2**60))
    with pytest.raises(EmbeddedError, match="TIMELINE_MIN_FREE_BYTES"), embedded(tmp_path, **ANY_PORTS):
        pytest.fail("it started")


def test_dev_restarts_its_servers_and_says_their_status(tmp_path: Path) -> None:
    """While the broker or Temporal does not run or answer, `timeline dev --status` names it and ends with
    exit code 4; killed, each comes back by itself; stopped by hand (SIGSTOP), it runs and does not answer.
    """
    command = [sys.executable, "-m", "timeline_workers", "dev", *PORTS]
    raw = tmp_path / "standard-output"
    with (
        raw.open("wb") as output,
        subprocess.Popen(
            command, env=environment(tmp_path), stdout=output, stderr=subprocess.PIPE, text=True
        ) as dev,
        gone_in_the_end(dev),
    ):
        assert dev.stderr is not None
        for line in dev.stderr:
            if line.startswith("Ctrl-C"):
                break

        def status() -> tuple[int, dict[str, dict[str, object]], str]:
            done = run(tmp_path, "timeline_workers", "dev", "--status")
            return done.returncode, {p["name"]: p for p in json.loads(done.stdout)["processes"]}, done.stderr

        def well() -> bool:
            return status()[0] == 0

        until(well)
        for name in (BROKER, TEMPORAL, "worker", "feeder", "web server"):
            pid = int(str(status()[1][name]["pid"]))
            os.kill(pid, signal.SIGKILL)

        def all_again() -> bool:
            code, found, _ = status()
            return code == 0 and {one["restarts"] for one in found.values()} == {1}

        until(all_again, 3 * DEADLINE)
        broker = child_of(int(str(status()[1][BROKER]["pid"])))
        os.kill(broker, signal.SIGSTOP)
        code, found, said = status()
        assert code == 4
        assert found[BROKER]["ok"] is False
        assert found[TEMPORAL]["ok"] is True
        assert f"{BROKER}: pulsar://127.0.0.1" in said
        os.kill(broker, signal.SIGCONT)
        until(well)
        dev.send_signal(signal.SIGINT)
        rest = dev.stderr.read()
        assert dev.wait(60) == 0
    assert f"{TEMPORAL} ended with signal SIGKILL; starting it again" in rest
    assert f"{BROKER} ended with signal SIGKILL; starting it again" in rest
    assert "temporalio_client::retry" not in rest
    # Client libraries log to a file, or as we do.
    assert raw.read_text() == ""
    assert (tmp_path / "data" / "logs" / "pulsar-client.log").exists()
    assert "sdk_core" not in rest


def child_of(pid: int) -> int:
    (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(child)
