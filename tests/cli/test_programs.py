"""``timeline feed`` and ``timeline produce`` are ``python -m feeder`` and ``python -m producer``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from timeline_workers.process.exit_codes import ExitCode

TOP = Path(__file__).parents[2]
PAIRS = [("produce", "producer"), ("feed", "feeder")]


def run(directory: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A program in a directory in which no servers run."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("TIMELINE_", "TEMPORAL_"))}
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=directory,
        env={**kept, "PYTHONPATH": str(TOP), "NO_COLOR": "1", **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_produce_prints_what_the_producer_prints(tmp_path: Path) -> None:
    told = run(tmp_path, "timeline_workers", "produce", "worked-example", "--stdout")
    assert told.returncode == ExitCode.OK, told.stderr
    assert len(told.stdout.splitlines()) == 10
    assert told.stdout == run(tmp_path, "producer", "worked-example", "--stdout").stdout


@pytest.mark.parametrize(("command", "module"), PAIRS)
def test_both_ways_end_alike_without_servers(command: str, module: str, tmp_path: Path) -> None:
    arguments = ["worked-example"] if command == "produce" else []
    ours = run(tmp_path, "timeline_workers", command, *arguments)
    assert ours.returncode == ExitCode.UNREACHABLE, ours.stderr
    assert ours.stderr.startswith("error: ")
    theirs = run(tmp_path, module, *arguments)
    assert (theirs.returncode, theirs.stderr) == (ours.returncode, ours.stderr)


@pytest.mark.parametrize(
    "program", [("timeline_workers", "feed"), ("timeline_workers", "worker"), ("producer", "worked-example")]
)
def test_a_wrong_log_level_is_named(program: tuple[str, ...], tmp_path: Path) -> None:
    ended = run(tmp_path, *program, TIMELINE_LOG_LEVEL="loud")
    assert ended.returncode == ExitCode.USAGE
    assert "TIMELINE_LOG_LEVEL='loud'" in ended.stderr
