"""Bounded runs of the harness itself, as anybody can start longer ones by hand."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos.harness import Options, Report, run
from tests.chaos.stacks import stack_of

pytestmark = pytest.mark.integration


async def under_chaos(seed: int, directory: Path) -> Report:
    # Workers continue as new all the time, as long ones do now and then.
    options = Options(seed, seconds=12, events=9_000, kills=6, feeders=1, drain=120, hand_over=4)
    return await run(options, stack_of(directory, real_broker=False, cluster=False), "embedded servers")


@pytest.mark.parametrize(
    "seed", [1, pytest.param(None, marks=pytest.mark.long)], ids=["fixed-seed", "any-seed"]
)
async def test_kills_change_no_answer_and_lose_no_event(seed: int | None, tmp_path: Path) -> None:
    """Six kills -9 of worker processes, the feeder, the broker and Temporal within 12 seconds: every answer
    is the oracle's, every refused event has its letter, and every question during the load was answered.
    """
    chosen = random.SystemRandom().randrange(10**6) if seed is None else seed
    print(f"seed {chosen}: python -m tests.chaos --seed {chosen} --seconds 12 --events 9000 --kills 6")
    report = await under_chaos(chosen, tmp_path)
    assert report.ok, "\n".join([f"seed {chosen}", str(report.differences), *report.shown])
    assert sum(report.killed.values()) == 6
    assert report.compared["spans of results"] > 100
    assert report.compared["values"] > 1_000
    assert report.workers["runs"] > 0
    assert report.questions["answered"] > 0


def test_ctrl_c_in_the_middle_leaves_no_process_behind(tmp_path: Path) -> None:
    """Interrupted while everything runs, the harness ends with code 130, and all that it started is gone."""
    command = [sys.executable, "-m", "tests.chaos", "--seed", "1", "--data", str(tmp_path)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as harness:
        assert harness.stderr is not None
        for line in harness.stderr:
            if line.startswith("kills:"):
                break
        assert programs_of(tmp_path)
        harness.send_signal(signal.SIGINT)
        harness.stderr.read()
        assert harness.wait() == 130
    assert not programs_of(tmp_path)


def programs_of(directory: Path) -> list[str]:
    """The command lines of the processes that were started for ``directory``, guards left out."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            environment = (process / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        mine = f"TIMELINE_DATA_DIR={directory}".encode() in environment or str(directory) in command
        if mine and int(process.name) != os.getpid() and "tests.chaos" not in command:
            found.append(command)
    return found
