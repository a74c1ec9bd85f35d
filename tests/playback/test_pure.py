"""The state machine has no clock and does no I/O; only sessions, clients and readers of tables do."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOM = Path(__file__).parents[2] / "timeline_workers" / "playback"
KEPT_OUT = {"asyncio", "time", "datetime", "threading", "socket", "starlette", "uvicorn"}
SHELLS = {"dvr_client.py", "session.py", "sync_dvr_client.py", "table_channels.py", "tables_recording.py"}


def imported(source: str) -> set[str]:
    found: set[str] = set()
    for part in ast.walk(ast.parse(source)):
        if isinstance(part, ast.Import):
            found |= {name.name.partition(".")[0] for name in part.names}
        elif isinstance(part, ast.ImportFrom) and part.level == 0:
            found.add((part.module or "").partition(".")[0])
    return found


@pytest.mark.parametrize("module", sorted(ROOM.glob("*.py")), ids=lambda path: path.name)
def test_a_module_knows_no_clock_and_no_loop(module: Path) -> None:
    known = imported(module.read_text(encoding="utf-8")) & KEPT_OUT
    assert bool(known) is (module.name in SHELLS)
