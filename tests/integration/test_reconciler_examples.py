"""The examples of reconcilers and alerts run from one command each."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration
TOP = Path(__file__).parents[2]


async def printed(script: str) -> list[str]:
    """The lines that an example prints."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, script, cwd=TOP, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        out, errors = await asyncio.wait_for(process.communicate(), 100)
    finally:
        if process.returncode is None:
            process.terminate()
    assert process.returncode == 0, errors.decode()
    return out.decode().splitlines()


async def test_cards_are_frozen_at_a_bank_that_fails() -> None:
    lines = await printed("examples/card-freeze/freeze.py")
    readme = (TOP / "examples/card-freeze/README.md").read_text()
    assert lines[:3] == [
        "c1 frozen, c2 frozen, c3 open",
        "c1 frozen, c2 open, c3 open",
        "c1 open, c2 open, c3 open",
    ]
    assert "\n".join(lines[:3]) in readme
    assert "failed" in lines[3]


@pytest.mark.long
async def test_players_play_what_they_were_last_told() -> None:
    lines = await printed("examples/music-player/player.py")
    assert sorted(lines[:4]) == [
        "player/7 is silent",
        "player/7 plays duet",
        "player/7 plays overture",
        "player/8 plays duet, second voice",
    ]
    played = int(lines[4].split()[0])
    assert played < 9


async def test_a_pager_is_told_of_stalled_viewers() -> None:
    lines = await printed("examples/stalled-viewers/pager.py")
    assert lines == ["east: fire since 00:02:02, page", "east: resolve since 00:02:02"]
    assert "\n".join(lines) in (TOP / "examples/stalled-viewers/README.md").read_text()
