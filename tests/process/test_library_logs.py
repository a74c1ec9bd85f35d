"""Logs of client libraries: through our log at their level, or to a file of their own."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import structlog

from timeline_workers.errors import SettingsError
from timeline_workers.process.library_logs import OurLog
from timeline_workers.servers.pulsar.pulsar_client import connect
from timeline_workers.servers.temporal.core_log import Retries


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    """As ``temporal_log.runtime`` sets one up."""
    made = logging.Logger("temporalio.core")
    made.addHandler(OurLog("temporalio.core"))
    made.addFilter(Retries())
    yield made
    structlog.reset_defaults()


def core(logger: logging.Logger, level: int, target: str, message: str, **fields: object) -> None:
    """Have the core library log a line."""
    record = logger.makeRecord("temporalio.core-sdk_core::x", level, "", 0, message, (), None)
    record.temporal_log = SimpleNamespace(target=target, message=message, fields=fields)
    logger.handle(record)


def test_failed_tries_are_one_warning(logger: logging.Logger) -> None:
    """Failed tries are one warning and other lines keep their level."""
    structlog.configure()
    with structlog.testing.capture_logs() as lines:
        for _ in range(3):
            core(
                logger, logging.ERROR, "temporalio_client::retry", "gRPC call poll retried 50 times",
                error='Status { code: Unavailable, message: "connection refused" }',
            )  # fmt: skip
        core(logger, logging.ERROR, "temporalio_sdk_core::worker", "it cannot be", reason="no")
    assert [(line["log_level"], line["event"]) for line in lines] == [
        ("warning", "Temporal does not answer; retrying: connection refused"),
        ("error", "it cannot be"),
    ]
    assert lines[1]["source"] == "temporalio_sdk_core::worker"
    assert lines[1]["details"] == "{'reason': 'no'}"


def test_lines_of_workflows_name_them(logger: logging.Logger) -> None:
    """The lines of workflows name them and keep their exceptions."""
    structlog.configure()
    with structlog.testing.capture_logs() as lines:
        try:
            raise ValueError("wrong")
        except ValueError:
            logger.exception("refused", extra={"temporal_workflow": {"workflow_id": "and-1.p0"}})
    [line] = lines
    assert (line["workflow_id"], line["log_level"]) == ("and-1.p0", "error")
    assert isinstance(line["exc_info"][1], ValueError)


def test_without_a_log_they_go_to_standard_error(
    logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    structlog.reset_defaults()
    core(logger, logging.WARNING, "somewhere", "it is slow", seconds=3)
    said = capsys.readouterr()
    assert "[WARNING] it is slow" in said.err
    assert "details={'seconds': 3}" in said.err
    assert said.out == ""


@pytest.fixture
def deaf() -> Iterator[str]:
    """The URL of a broker that hangs up on whoever connects."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up() -> None:
            while True:
                try:
                    server.accept()[0].close()
                except OSError:
                    return

        thread = threading.Thread(target=hang_up)
        thread.start()
        yield f"pulsar://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


# In a process of its own: the first client of one decides where all its lines go.
ASK = """
import sys, pulsar
from timeline_workers.servers.pulsar.pulsar_client import connect
client = connect(sys.argv[1], operation_seconds=1)
try:
    client.get_topic_partitions("any")
except pulsar.PulsarException:
    client.close()
"""


@pytest.mark.parametrize("to_file", [True, False], ids=["file", "standard output"])
def test_pulsars_lines_go_to_the_file_that_is_set(deaf: str, to_file: bool, tmp_path: Path) -> None:
    file = tmp_path / "pulsar.log"
    setting = {"TIMELINE_PULSAR_LOG": str(file)} if to_file else {}
    asked = subprocess.run(
        [sys.executable, "-c", ASK, deaf],
        env={**os.environ, **setting}, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    in_file = file.exists() and "ERROR" in file.read_text()
    assert ("ERROR" in asked.stdout, in_file) == (not to_file, to_file)


def test_a_log_file_that_cannot_be_written_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TIMELINE_PULSAR_LOG", str(tmp_path / "missing" / "pulsar.log"))
    with pytest.raises(SettingsError, match=r"TIMELINE_PULSAR_LOG=.*cannot be written"):
        connect("pulsar://127.0.0.1:1")
