"""Keeping a few child processes running side by side: what `timeline dev`, the embedded servers and the quick
test stand on.

A child that ends by itself is started again, at once the first time and after growing pauses while it keeps
ending within seconds; each end is reported with its exit status and the last lines of its log. When it has
kept ending for ``patience`` seconds, or says that its settings are wrong (exit code 2), it is given up and
``ended`` is set. A child can be held down for a reason, and released (``hold``). Stopping sends SIGTERM in
reverse order of starting, each child having left before the next is asked, and SIGKILL to what does not
leave in time. No child outlives ``stop``.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any, Literal

from .exit import QUICK_FAILURES, QUICK_SECONDS
from .exit_codes import ExitCode
from .guard import guarded

GRACE_SECONDS = 30.0
PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 15.0
LAST_LINES, _TAIL_BYTES = 5, 8192

State = Literal["running", "restarting", "held", "failed", "removed"]


@dataclass(frozen=True, slots=True)
class Job:
    """One program to keep running. ``log``: where its output goes; None: to ours. ``environment``: on top of
    the supervisor's. ``grace``: seconds it is given to leave. ``directory``: where it runs.
    """

    name: str
    command: Sequence[str]
    log: Path | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    grace: float = GRACE_SECONDS
    directory: Path | None = None


@dataclass(slots=True)
class _Running:
    job: Job
    process: subprocess.Popen[bytes]
    began: float
    written: int = 0
    """How long the log was when it began."""
    failures: int = 0
    failing_since: float = 0.0
    restarts: int = 0
    state: State = "running"
    reason: str | None = None
    """Why it is not running, or how it last ended."""
    asked: bool = False
    """Whether it is being ended by us, to be started again."""

    def gives_up(self, now: float, patience: float, code: int = 1) -> bool:
        """Note that the process has ended ``now``; whether it is not to be started again."""
        if now - self.began >= QUICK_SECONDS:
            self.failures = 0
            return False
        if self.failures == 0:
            self.failing_since = self.began
        self.failures += 1
        waited = now - self.failing_since >= patience or code == ExitCode.USAGE
        return self.failures >= QUICK_FAILURES and waited

    def pause(self) -> float:
        """Seconds until it is started again."""
        if self.failures < QUICK_FAILURES - 1:
            return 0.0
        return float(min(PAUSE_SECONDS * 2 ** (self.failures - QUICK_FAILURES + 1), LONGEST_PAUSE_SECONDS))

    def last_lines(self) -> str:
        """What the program last wrote to its log since it began; nothing where it has none."""
        if self.job.log is None:
            return ""
        with suppress(OSError), self.job.log.open("rb") as log:
            end = log.seek(0, os.SEEK_END)
            log.seek(max(self.written, end - _TAIL_BYTES))
            lines = log.read().decode(errors="replace").strip().splitlines()
            return "\n".join(lines[-LAST_LINES:])
        return ""


@dataclass(slots=True)
class Supervisor:
    """Runs jobs with ``environment`` on top of ours; ``tell`` is given a line about each unexpected end, with
    more below it where the program has a log.

    ``patience``: for so many seconds one is started again though it keeps ending. ``record``: a file that
    always says, as JSON, how each job is (``states``).
    """

    environment: Mapping[str, str] = field(default_factory=dict)
    tell: Callable[[str], object] = lambda line: None
    patience: float = 0.0
    record: Path | None = None
    _running: dict[str, _Running] = field(default_factory=dict)
    _stopping: bool = False
    _changed: threading.Condition = field(default_factory=threading.Condition)
    ended: threading.Event = field(default_factory=threading.Event)
    failed: tuple[str, int] | None = None

    def start(self, job: Job, ready: Callable[[subprocess.Popen[bytes]], None] | None = None) -> None:
        """Start ``job`` and keep it running until ``stop``.

        ``ready``: returns when it serves, or raises, and then the job is stopped and not kept.
        """
        with self._changed:
            running = _Running(job, *self._spawn(job))
            self._running[job.name] = running
        if ready is not None:
            try:
                ready(running.process)
            except BaseException:
                _terminate(running.process, job.grace)
                with self._changed:
                    del self._running[job.name]
                raise
        with self._changed:
            self._note()
        threading.Thread(target=self._watch, args=(running,), name=f"watch-{job.name}", daemon=True).start()

    def remove(self, name: str) -> None:
        """Stop a job, and keep it no more."""
        with self._changed:
            running = self._running.pop(name)
            running.state = "removed"
            self._changed.notify_all()
        _terminate(running.process, running.job.grace)

    def hold(self, name: str, reason: str) -> None:
        """Stop a job, and do not start it again before ``release``."""
        with self._changed:
            running = self._running[name]
            if running.state == "held" or self._stopping:
                return
            running.state, running.reason = "held", reason
            self._note()
        self._tell(f"{name} is stopped: {reason}")
        _terminate(running.process, running.job.grace)

    def release(self, name: str, reason: str) -> None:
        """Start a job again that is held."""
        with self._changed:
            running = self._running[name]
            if running.state != "held":
                return
            running.state = "restarting"
            self._changed.notify_all()
        self._tell(f"{name} is started again: {reason}")

    def restart(self, name: str, reason: str) -> None:
        """End a job that is sick, to be started again."""
        with self._changed:
            running = self._running[name]
            if running.state != "running" or self._stopping:
                return
            running.asked, running.reason = True, reason
        self._tell(f"{name} is started again: {reason}")
        _terminate(running.process, running.job.grace)

    def states(self) -> list[dict[str, Any]]:
        """How each job is: its ``state``, the ``pid`` of its guard, how often it was started again
        (``restarts``), and how it last ended or why it is held (``reason``).
        """
        with self._changed:
            return [
                {
                    "name": name,
                    "state": one.state,
                    "pid": one.process.pid if one.state == "running" else None,
                    "restarts": one.restarts,
                    "reason": one.reason,
                }
                for name, one in self._running.items()
            ]

    def stop(self) -> None:
        """Stop all jobs, the last one started first."""
        with self._changed:
            self._stopping = True
            running = list(self._running.values())[::-1]
            self._changed.notify_all()
        for one in running:
            _terminate(one.process, one.job.grace)
        self.ended.set()
        if self.record is not None:
            self.record.unlink(missing_ok=True)

    def _spawn(self, job: Job) -> tuple[subprocess.Popen[bytes], float, int]:
        environment = {**os.environ, **self.environment, **job.environment}
        if job.log is None:
            return self._popen(job, environment, None), monotonic(), 0
        with job.log.open("ab") as log:
            return self._popen(job, environment, log.fileno()), monotonic(), log.tell()

    @staticmethod
    def _popen(job: Job, environment: Mapping[str, str], output: int | None) -> subprocess.Popen[bytes]:
        # A session of its own: Ctrl-C reaches us, and we stop the jobs in order.
        return subprocess.Popen(
            guarded(job.command, job.grace),
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            start_new_session=True,
            cwd=job.directory,
        )

    def _watch(self, running: _Running) -> None:
        while self._started_again(running, running.process.wait()):
            pass

    def _started_again(self, running: _Running, code: int) -> bool:
        """Start a job that has ended with ``code`` once it may be; False when it is not to be any more."""
        with self._changed:
            pause = 0.0
            if not self._stopping and running.state == "running" and not running.asked:
                if running.gives_up(monotonic(), self.patience, code):
                    self._give_up(running, code)
                    return False
                pause = running.pause()
                running.state = "restarting"
                self._ended(running, "ended", code, f"starting it again{f' in {pause:g} s' if pause else ''}")
            self._changed.wait_for(lambda: self._stopping or running.state == "removed", pause)
            self._changed.wait_for(lambda: self._stopping or running.state != "held")
            if self._stopping or running.state == "removed":
                return False
            _let_go(running.process)
            running.process, running.began, running.written = self._spawn(running.job)
            running.restarts += 1
            running.state, running.asked = "running", False
            self._note()
            return True

    def _give_up(self, running: _Running, code: int) -> None:
        running.state = "failed"
        self._ended(running, "keeps ending, now", code, "it is given up")
        self.failed = (running.job.name, code)
        self.ended.set()

    def _ended(self, running: _Running, happened: str, code: int, next_step: str) -> None:
        running.reason = f"ended with {described(code)} at {datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
        self._note()
        said = running.last_lines()
        said = f"; the last lines of its log {running.job.log}:\n{said}" if said else ""
        self._tell(f"{running.job.name} {happened} with {described(code)}; {next_step}{said}")

    def _note(self) -> None:
        if self.record is None or self._stopping:
            return
        partial = self.record.with_suffix(".partial")
        with suppress(OSError):  # the disk may be full
            partial.write_text(json.dumps(self.states(), indent=2) + "\n")
            partial.replace(self.record)

    def _tell(self, line: str) -> None:
        with suppress(OSError, ValueError):  # a terminal that is gone must not end the watch
            self.tell(line)


def described(code: int) -> str:
    """How a process ended, in words: its exit code, as the guard or ``subprocess`` gives it."""
    number = -code if code < 0 else code - 128
    return f"signal {signal.Signals(number).name}" if number > 0 else f"exit code {code}"


def _terminate(process: subprocess.Popen[bytes], grace: float) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(grace + 5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    _let_go(process)


def _let_go(process: subprocess.Popen[bytes]) -> None:
    """Close the pipe to the guard of a program that has ended."""
    if process.stdin:
        process.stdin.close()
