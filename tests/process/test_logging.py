"""The log of every program: the same fields, a level that is set, JSON where nobody sits before it."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator

import pytest
import structlog

from timeline_workers.process.logging import configure_logging


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    logger = logging.getLogger("temporalio")
    before, propagate = list(logger.handlers), logger.propagate
    yield
    structlog.reset_defaults()
    logger.handlers[:] = before
    logger.propagate = propagate


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    """What was logged, as read from the JSON lines on standard error; nothing is on standard output."""
    said = capsys.readouterr()
    assert said.out == ""
    return [json.loads(line) for line in said.err.splitlines()]


@pytest.mark.parametrize("program", ["worker", "feeder", "producer", "dev", "timeline"])
def test_every_line_has_the_same_fields(program: str, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(program)
    structlog.get_logger().info("fed", topic="t")
    [line] = lines(capsys)
    assert str(line.pop("timestamp")).endswith("Z")
    assert line == {"level": "info", "program": program, "event": "fed", "topic": "t"}


def test_lines_below_the_level_are_dropped(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("feeder", "warning")
    structlog.get_logger().info("not this")
    structlog.get_logger().warning("this")
    assert [line["event"] for line in lines(capsys)] == ["this"]


def test_lines_of_workflows_join_once(capsys: pytest.CaptureFixture[str]) -> None:
    """However often it is set up."""
    configure_logging("worker")
    configure_logging("worker")
    logging.getLogger("temporalio.workflow").warning(
        "slow", extra={"temporal_workflow": {"workflow_id": "w"}}
    )
    [line] = lines(capsys)
    assert (line["event"], line["workflow_id"], line["library"]) == ("slow", "w", "temporalio.workflow")


def test_an_exception_is_in_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("worker")
    try:
        raise ValueError("wrong")
    except ValueError:
        structlog.get_logger().exception("failed")
    [line] = lines(capsys)
    assert "ValueError: wrong" in str(line["exception"])


def test_a_terminal_gets_text(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("NO_COLOR", "1")
    configure_logging("feeder")
    structlog.get_logger().info("fed", topic="t")
    said = capsys.readouterr().err
    assert "[info" in said
    assert "topic=t" in said
    assert "program=feeder" in said
