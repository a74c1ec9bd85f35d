"""When a child that keeps ending is given up."""

from __future__ import annotations

import subprocess
import sys

from timeline_workers.supervisor import QUICK_FAILURES, QUICK_SECONDS, Job, Supervisor, _Running

LONG = QUICK_SECONDS + 1


def ended(running: _Running, *, after: float, patience: float = 0.0) -> bool:
    """The process ends ``after`` seconds; whether it is given up. If not, it is started again at once."""
    now = running.began + after
    gives_up = running.gives_up(now, patience)
    running.began = now
    return gives_up


def a_child() -> _Running:
    return _Running(Job("one", []), subprocess.Popen([sys.executable, "-c", ""]), 0.0)


def test_one_that_ends_at_once_again_and_again_is_given_up() -> None:
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


def test_a_job_that_fails_at_once_ends_the_watch_with_its_code() -> None:
    told: list[str] = []
    supervisor = Supervisor(tell=told.append)
    supervisor.start(Job("one", [sys.executable, "-c", "raise SystemExit(7)"]))
    assert supervisor.ended.wait(60)
    supervisor.stop()
    assert supervisor.failed == ("one", 7)
    assert len(told) == QUICK_FAILURES
