"""`python -m deploy.pulsar_standalone`: a real broker from one command, or one line of what is missing."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pulsar
import pytest

from deploy.pulsar_archive import VERSION, PulsarUnavailableError, distribution, java
from deploy.pulsar_standalone import Broker, BrokerError, standalone
from tests.integration.listening import LOOPBACK, listening
from timeline_workers.servers.pulsar.pulsar_client import connect

pytestmark = pytest.mark.integration

TOP = Path(__file__).parents[2]


def command(data: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "deploy.pulsar_standalone", "--data", str(data), "--port", "0", *arguments],
        cwd=TOP,
        stderr=subprocess.PIPE,
        text=True,
    )


def program(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_the_command_finds_its_data_again(tmp_path: Path, pulsar_broker: Broker) -> None:
    """A message is there after a restart on the same ports; nothing listens after the end."""
    for first in (True, False):
        with command(tmp_path / "data", "--admin-port", "0") as running:
            assert running.stderr is not None
            url = running.stderr.readline().split()[1]
            while not running.stderr.readline().startswith("Ctrl-C"):
                pass
            with closing(connect(url)) as client:
                if first:
                    client.create_producer("kept").send(b"x")
                    before = url
                reader = client.create_reader("kept", pulsar.MessageId.earliest)
                assert reader.read_next(timeout_millis=30_000).data() == b"x"
            running.send_signal(signal.SIGINT)
            running.stderr.read()
            assert running.wait(60) == 0
        assert url == before
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", int(url.rpartition(":")[2]))) != 0


def test_a_broker_that_is_killed_finds_its_topics_again(pulsar_broker: Broker) -> None:
    """kill -9 leaves no process behind; what was stored is there, and a topic keeps its partitions."""
    pulsar_broker.create_topic("survivor", partitions=3)
    with closing(connect(pulsar_broker.url)) as client:
        client.create_producer("survivor").send(b"x", partition_key="k")
    pulsar_broker.kill()
    assert pulsar_broker.pid is None
    pulsar_broker.start()
    with closing(connect(pulsar_broker.url)) as client:
        assert len(client.get_topic_partitions("survivor")) == 3
        reader = client.create_reader("survivor", pulsar.MessageId.earliest)
        assert reader.read_next(timeout_millis=30_000).data() == b"x"
    pulsar_broker.delete_topics()


def test_it_listens_on_loopback_only(pulsar_broker: Broker) -> None:
    """Broker, admin API and storage: no port of the process takes connections from elsewhere."""
    pid = pulsar_broker.pid
    assert pid is not None
    assert listening([pid]) == {LOOPBACK}


def test_mistakes_are_one_line(tmp_path: Path, pulsar_broker: Broker) -> None:
    """A port that is taken, a directory in use, a topic that exists."""
    port = int(pulsar_broker.url.rpartition(":")[2])
    with pytest.raises(BrokerError, match=rf"^port {port} on 127.0.0.1 cannot be used: [^\n]*$"):
        standalone(tmp_path, port=port).__enter__()
    with pytest.raises(BrokerError, match=r"^a broker runs in [^\n]* already[^\n]*$"):
        standalone(pulsar_broker.data).__enter__()
    pulsar_broker.create_topic("once")
    with pytest.raises(BrokerError, match=r"^[^\n]*already exists[^\n]*$"):
        pulsar_broker.create_topic("once")
    pulsar_broker.delete_topics()


def test_without_java_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without java or with an old one it says so."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(PulsarUnavailableError, match=r"^no Java was found; [^\n]*17 or newer$"):
        java()
    program(tmp_path / "bin" / "java", """echo 'openjdk version "11.0.2" 2019-01-15' >&2""")
    with pytest.raises(PulsarUnavailableError, match=r'too old \(openjdk version "11.0.2"[^\n]*17 or newer$'):
        java()


def test_without_the_archive_it_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No Maven; a Maven that fails; an archive that is not the published one; a directory that is none."""
    monkeypatch.delenv("TIMELINE_PULSAR_HOME", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PulsarUnavailableError, match=r"^[^\n]*Maven \(mvn\)[^\n]*not found$"):
        distribution()
    program(tmp_path / "mvn", "echo '[ERROR] no network'; exit 1")
    with pytest.raises(PulsarUnavailableError, match=r"^Maven could not download [^\n]*no network$"):
        distribution()
    program(
        tmp_path / "mvn", """for a; do case $a in -DoutputDirectory=*) : > "${a#*=}/x.tar.gz";; esac; done"""
    )
    with pytest.raises(PulsarUnavailableError, match=r"^x.tar.gz is not what was expected[^\n]*$"):
        distribution()
    assert not (tmp_path / "cache" / "timeline-workers" / f"apache-pulsar-{VERSION}").exists()
    monkeypatch.setenv("TIMELINE_PULSAR_HOME", str(tmp_path))
    with pytest.raises(PulsarUnavailableError, match=r"has no bin/pulsar$"):
        distribution()
