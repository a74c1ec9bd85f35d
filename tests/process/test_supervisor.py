"""Giving up a child that keeps ending."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from timeline_workers.process.supervisor import (
    LONGEST_PAUSE_SECONDS,
    QUICK_FAILURES,
    QUICK_SECONDS,
    Job,
    Supervisor,
    _Running,
)

LONG = QUICK_SECONDS + 1
SLEEPS = "import signal; signal.pause()"


def until(fact: Callable[[], bool]) -> None:
    for _ in range(600):
        if fact():
            return
        threading.Event().wait(0.05)  # between two looks, bounded
    raise AssertionError("it did not come true")


def ended(running: _Running, *, after: float, patience: float = 0.0) -> bool:
    """The process ends ``after`` seconds; whether it is given up. If not, it is started again at once."""
    now = running.began + after
    gives_up = running.gives_up(now, patience)
    running.began = now
    return gives_up


def a_child() -> _Running:
    return _Running(Job("one", []), subprocess.Popen([sys.executable, "-c", ""]), 0.0)


def test_a_child_that_keeps_ending_is_given_up() -> None:
    """One that ends at once again and again is given up."""
    child = a_child()
    assert [ended(child, after=0.1) for _ in range(QUICK_FAILURES)] == [False, False, True]
    child.process.wait()


def test_one_is_given_time_for_what_it_needs() -> None:
    child = a_child()
    assert not any(ended(child, after=1, patience=60) for _ in range(59)), (
        "though it was killed within seconds"
    )
    assert ended(child, after=1, patience=60)
    child.process.wait()


def test_a_longer_run_in_between_begins_it_anew() -> None:
    child = a_child()
    for _ in range(5):
        assert not ended(child, after=LONG)
        assert not any(ended(child, after=1) for _ in range(QUICK_FAILURES - 1))
    child.process.wait()


def test_a_failing_job_ends_the_watch() -> None:
    """A job that fails at once ends the watch with its code."""
    told: list[str] = []
    supervisor = Supervisor(tell=told.append)
    supervisor.start(Job("one", [sys.executable, "-c", "raise SystemExit(7)"]))
    assert supervisor.ended.wait(60)
    supervisor.stop()
    assert supervisor.failed == ("one", 7)
    assert len(told) == QUICK_FAILURES


def test_an_end_is_told_with_status_and_log(tmp_path: Path) -> None:
    """An end is told with its status and the last lines."""
    told: list[str] = []
    program = "import os; [print('line', n, flush=True) for n in range(9)]; os.kill(os.getpid(), 6)"
    supervisor = Supervisor(tell=told.append, patience=60, record=tmp_path / "record.json")
    supervisor.start(Job("one", [sys.executable, "-c", program], tmp_path / "log"))
    until(lambda: len(told) >= 2)
    (state,) = json.loads((tmp_path / "record.json").read_bytes())
    supervisor.stop()
    for line in told[:2]:
        assert line.startswith("one ended with signal SIGABRT; starting it again")
        assert "line 8" in line
        assert "line 3" not in line
    assert state["name"] == "one"
    assert "signal SIGABRT" in state["reason"]
    assert not (tmp_path / "record.json").exists()


def test_pauses_grow_and_wrong_settings_end_soon() -> None:
    """Pauses grow and settings that are wrong are not tried for long."""
    child = a_child()
    pauses = []
    for _ in range(10):
        assert not ended(child, after=1, patience=600)
        pauses.append(child.pause())
    assert pauses[0] == 0
    assert pauses[1:] == sorted(pauses[1:])
    assert pauses[-1] == LONGEST_PAUSE_SECONDS
    wrong = a_child()
    assert [wrong.gives_up(n + 0.1, 600, code=2) for n in range(QUICK_FAILURES)] == [False, False, True]
    for one in (child, wrong):
        one.process.wait()


def test_a_held_job_runs_again_when_released() -> None:
    """A job that is held runs again only when it is released."""
    told: list[str] = []
    supervisor = Supervisor(tell=told.append)
    supervisor.start(Job("one", [sys.executable, "-c", SLEEPS]))
    supervisor.hold("one", "no room")
    (held,) = supervisor.states()
    assert (held["state"], held["reason"], held["pid"]) == ("held", "no room", None)
    supervisor.hold("one", "no room")
    supervisor.release("one", "room")
    until(lambda: supervisor.states()[0]["state"] == "running")
    supervisor.restart("one", "sick")
    until(lambda: supervisor.states()[0]["restarts"] == 2)
    supervisor.stop()
    assert told == ["one is stopped: no room", "one is started again: room", "one is started again: sick"]
    assert supervisor.failed is None
