"""Keeping a few child processes running side by side: what `timeline dev` and the quick test stand on.

A child that ends by itself is started again at once, unless it does so again and again within seconds: then
all are stopped and its exit code is reported. It may be given longer (``patience``): what it needs may be on
its way up, too. Stopping sends SIGTERM in reverse order of starting, each child
having left before the next is asked, and SIGKILL to what does not leave in time. No child outlives ``stop``.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

from .embedded import guarded

GRACE_SECONDS = 30.0
QUICK_SECONDS = 5.0
QUICK_FAILURES = 3
PAUSE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Job:
    """One program to keep running. ``log``: where its output goes; None: to ours."""

    name: str
    command: Sequence[str]
    log: Path | None = None


@dataclass(slots=True)
class _Running:
    job: Job
    process: subprocess.Popen[bytes]
    began: float
    failures: int = 0
    failing_since: float = 0.0

    def gives_up(self, now: float, patience: float) -> bool:
        """Note that the process has ended ``now``; whether it is not to be started again."""
        if now - self.began >= QUICK_SECONDS:
            self.failures = 0
            return False
        if self.failures == 0:
            self.failing_since = self.began
        self.failures += 1
        return self.failures >= QUICK_FAILURES and now - self.failing_since >= patience


@dataclass(slots=True)
class Supervisor:
    """Runs jobs with ``environment`` on top of ours; ``tell`` is given a line about each unexpected end.

    ``patience``: for so many seconds one is started again though it keeps ending.
    """

    environment: Mapping[str, str] = field(default_factory=dict)
    tell: Callable[[str], object] = lambda line: None
    patience: float = 0.0
    _running: dict[str, _Running] = field(default_factory=dict)
    _stopping: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)
    ended: threading.Event = field(default_factory=threading.Event)
    failed: tuple[str, int] | None = None

    def start(self, job: Job) -> None:
        """Start ``job`` and keep it running until ``stop``."""
        with self._lock:
            running = _Running(job, self._spawn(job), monotonic())
            self._running[job.name] = running
        threading.Thread(target=self._watch, args=(running,), daemon=True).start()

    def stop(self) -> None:
        """Stop all jobs, the last one started first."""
        with self._lock:
            self._stopping = True
            running = list(self._running.values())[::-1]
        for one in running:
            _terminate(one.process)
        self.ended.set()

    def _spawn(self, job: Job) -> subprocess.Popen[bytes]:
        environment = {**os.environ, **self.environment}
        if job.log is None:
            return self._popen(job, environment, None)
        with job.log.open("ab") as log:
            return self._popen(job, environment, log.fileno())

    @staticmethod
    def _popen(job: Job, environment: Mapping[str, str], output: int | None) -> subprocess.Popen[bytes]:
        # A session of its own: Ctrl-C reaches us, and we stop the jobs in order.
        return subprocess.Popen(
            guarded(job.command, GRACE_SECONDS),
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )

    def _watch(self, running: _Running) -> None:
        while True:
            code = running.process.wait()
            with self._lock:
                if self._stopping:
                    return
                if running.gives_up(monotonic(), self.patience):
                    self.failed = (running.job.name, code)
                    break
                self._tell(f"{running.job.name} ended with {_described(code)}; starting it again")
                _let_go(running.process)
            if running.failures >= QUICK_FAILURES:
                self.ended.wait(PAUSE_SECONDS)
            with self._lock:
                if self._stopping:
                    return
                running.process = self._spawn(running.job)
                running.began = monotonic()
        self._tell(f"{running.job.name} keeps ending with {_described(code)}")
        self.ended.set()

    def _tell(self, line: str) -> None:
        with suppress(OSError):  # a terminal that is gone must not end the watch
            self.tell(line)


def _described(code: int) -> str:
    return f"signal {signal.Signals(code - 128).name}" if code > 128 else f"exit code {code}"


def _terminate(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(GRACE_SECONDS + 5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    _let_go(process)


def _let_go(process: subprocess.Popen[bytes]) -> None:
    """Close the pipe to the guard of a program that has ended."""
    if process.stdin:
        process.stdin.close()
