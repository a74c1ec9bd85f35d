"""The embedded servers: where they are, that they keep their data, and that nothing is left behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pulsar
import pytest

from producer.send import to_pulsar
from tests.integration.listening import LOOPBACK, listening
from tests.integration.stack import event
from timeline_workers.errors import ConnectionFailedError
from timeline_workers.servers.embedded import embedded_servers as embedded_module
from timeline_workers.servers.embedded.embedded_servers import (
    EmbeddedError,
    embedded,
    require_running,
    running_addresses,
)
from timeline_workers.servers.pulsar.pulsar_client import check_broker, connect

pytestmark = pytest.mark.integration

HOLD = """
import sys
from pathlib import Path
from timeline_workers.servers.embedded.embedded_servers import embedded
with embedded(Path(sys.argv[1]), temporal_port=0, ui_port=0, pulsar_port=0) as found:
    print(found.model_dump_json(), flush=True)
    sys.stdin.read()
"""


def port_of(address: str) -> int:
    return int(address.rpartition(":")[2])


def parent(process: int) -> int | None:
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return None
    return int(stat.rpartition(")")[2].split()[1])


def refuses(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def test_both_servers_run_on_loopback(tmp_path: Path) -> None:
    """Both servers run on loopback and are found while they do."""
    with embedded(tmp_path, temporal_port=0, ui_port=0, pulsar_port=0) as found:
        assert running_addresses(tmp_path) == found
        assert not refuses(port_of(found.temporal))
        assert check_broker(connect(found.pulsar), found.pulsar, "any") in (0, 1)
        assert found.temporal.startswith("127.0.0.1:")
    assert running_addresses(tmp_path) is None
    assert refuses(port_of(found.temporal))
    assert refuses(port_of(found.pulsar))


def test_no_port_of_theirs_takes_connections_from_elsewhere(tmp_path: Path) -> None:
    with embedded(tmp_path, temporal_port=0, ui_port=0, pulsar_port=0):
        guards = [p for p in map(int, filter(str.isdigit, os.listdir("/proc"))) if parent(p) == os.getpid()]
        assert listening(guards) == {LOOPBACK}


def test_a_second_start_names_the_first(tmp_path: Path) -> None:
    """A second start in the same directory is refused and names the first."""
    with (
        embedded(tmp_path, temporal_port=0, ui_port=0, pulsar_port=0) as found,
        pytest.raises(EmbeddedError, match=f"process {os.getpid()}, Temporal at {found.temporal}"),
        embedded(tmp_path),
    ):
        pytest.fail("it started")


def test_a_port_in_use_is_refused_by_its_number(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with (
            pytest.raises(EmbeddedError, match=f"port {port} on 127.0.0.1 is in use"),
            embedded(tmp_path, temporal_port=port),
        ):
            pytest.fail("it started")


@pytest.mark.parametrize("server", ["temporal", "ui", "pulsar"])
def test_a_port_taken_at_the_last_moment_is_noticed(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else's connection may have any port that was free a moment ago: another is chosen."""
    choose = embedded_module._choose_ports
    chosen: list[list[int]] = []

    def and_lose_one(*wanted: tuple[int | None, int]) -> list[int]:
        ports = choose(*wanted)
        if not chosen:
            other.bind((embedded_module.HOST, ports[["temporal", "ui", "pulsar"].index(server)]))
        chosen.append(ports)
        return ports

    monkeypatch.setattr(embedded_module, "_choose_ports", and_lose_one)
    with socket.socket() as other, embedded(tmp_path, temporal_port=0, ui_port=0, pulsar_port=0) as found:
        assert len(chosen) == 2
        assert [port_of(found.temporal), port_of(found.ui), port_of(found.pulsar)] == chosen[1]
        assert not refuses(port_of(found.temporal))
        assert not refuses(port_of(found.pulsar))


def test_messages_are_found_again_after_a_restart(tmp_path: Path) -> None:
    with embedded(tmp_path, temporal_port=0, ui_port=0, pulsar_port=0) as found:
        to_pulsar([event("a", 1)], "kept", url=found.pulsar)
    with embedded(tmp_path, temporal_port=0, ui_port=0, pulsar_port=0) as found:
        client = connect(found.pulsar)
        reader = client.create_reader("kept", pulsar.MessageId.earliest)
        assert json.loads(reader.read_next(timeout_millis=20_000).data()) == {"id": "a", "t": 1}
        client.close()


def test_servers_end_when_their_owner_is_killed(tmp_path: Path) -> None:
    """Also after kill -9: nothing is left running, and the directory can be used again at once."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as owner:
        assert owner.stdout is not None
        first = json.loads(owner.stdout.readline())
        owner.send_signal(signal.SIGKILL)
    assert running_addresses(tmp_path) is None
    with embedded(tmp_path, temporal_port=0, ui_port=0, pulsar_port=0) as second:
        assert second.pid != first["pid"]
    assert refuses(port_of(first["pulsar"]))
    assert refuses(port_of(first["temporal"]))


def test_a_wrong_address_names_how_to_start_a_broker() -> None:
    """A wrong address is named with the way to start a broker."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    with pytest.raises(ConnectionFailedError, match=rf"pulsar://127\.0\.0\.1:{port} .*timeline dev"):
        connect(f"pulsar://127.0.0.1:{port}")


@pytest.mark.parametrize("url", ["127.0.0.1:6650", "kafka://x:1", "pulsar://"])
def test_what_is_no_pulsar_url_is_refused_as_such(url: str) -> None:
    with pytest.raises(ConnectionFailedError, match="not a Pulsar URL"):
        connect(url)


def test_without_address_the_error_says_how(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any address the error says how to get one."""
    monkeypatch.setenv("TIMELINE_DATA_DIR", str(tmp_path / "none"))
    with pytest.raises(ConnectionFailedError, match="timeline dev"):
        require_running("Pulsar")
