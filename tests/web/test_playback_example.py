"""The example of the player: it prints what its README says."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path

import pytest

pytest.importorskip("fastapi")
from tests.web.recorded import Recorded
from tests.web.serving import served
from timeline_workers.metric.model import Metric
from timeline_workers.playback.history_names import MetricsByName
from timeline_workers.playback.history_recording import HistoryRecording
from timeline_workers.web.access import Access
from timeline_workers.web.dvr import application

FOLDER = Path(__file__).parents[2] / "examples/playback"


async def test_the_example_prints_what_it_says(tmp_path: Path) -> None:
    recorded = await Recorded.worked_example(tmp_path / "history.db")
    metrics: list[Metric] = [recorded.metric]
    recording = HistoryRecording(recorded.store, MetricsByName(metrics))
    (block,) = re.findall(r"```console\n(.*?)```", (FOLDER / "README.md").read_text(), re.DOTALL)
    command, _, expected = block.partition("\n")
    assert command == "$ python examples/playback/play.py cirr s1"
    async with served(application(recording, Access())) as server:
        program = await asyncio.create_subprocess_exec(
            sys.executable,
            str(FOLDER / "play.py"),
            *command.split()[3:],
            server.address,
            stdout=asyncio.subprocess.PIPE,
        )
        said, _ = await program.communicate()
    await recorded.store.close()
    assert said.decode() == expected
