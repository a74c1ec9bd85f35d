"""Arguments of the programs that are no text are refused, whichever they are."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from timeline_workers.process.exit_codes import ExitCode

EVENTS = Path(__file__).parents[2] / "docs" / "events.jsonl"
COMMANDS: list[list[str | bytes]] = [
    ["timeline_workers", "query", "m", "--at", "1", "--key", b"\xff"],
    ["timeline_workers", "get", "--namespace", b"a\xff"],
    ["timeline_workers", "eval", "has_existed(x == 1)", "--events", str(EVENTS), b"--key=\xff", "--at", "1"],
    ["producer", "worked-example", "--topic", b"\xff"],
    ["feeder", "--metric", b"\xff"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: f"{command[0]}-{command[1]!r}")
def test_bytes_that_are_no_text_are_refused(command: list[str | bytes], tmp_path: Path) -> None:
    top = str(Path(__file__).parents[2])
    ended = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": top, "PYTHONUTF8": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == ExitCode.USAGE
    assert "\\udcff': its bytes are not UTF-8 text; write it in UTF-8" in ended.stderr
    assert "Traceback" not in ended.stderr
