"""One process that can be killed and started again on the same data and ports."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

from timeline_workers.servers.embedded.embedded_servers import guarded

READY_SECONDS = 120.0
GRACE_SECONDS = 10.0


class NotReady(RuntimeError):
    """A program did not come up: the message says which, and where its log is."""


async def always() -> bool:
    """For programs of which being ready cannot be asked: they are, once they run."""
    return True


@dataclass
class Program:
    """``command`` run as ``name``, its output appended to ``log``.

    It runs under a guard that stops it when this process is gone, however that went. ``downs``: the spells
    (killed, ready again), in seconds of the monotonic clock; the last may have no end yet. ``once``: what is
    to be done when it is ready for the first time; ``sick``: whether its owner would start it again now.
    """

    name: str
    command: Sequence[str]
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    ready: Callable[[], Awaitable[bool]] = always
    once: Callable[[], object] | None = None
    sick: Callable[[], bool] | None = None
    process: subprocess.Popen[bytes] | None = None
    downs: list[tuple[float, float | None]] = field(default_factory=list)
    unasked: int = 0

    def start(self) -> None:
        """Start it, unless it runs."""
        if self.running:
            return
        if self.process is not None and self.process.returncode not in (-signal.SIGKILL, None):
            self.unasked += 1
        if self.process is not None:
            _let_go(self.process)
        self.process = self.launch()

    def launch(self) -> subprocess.Popen[bytes]:
        """Start the process, whatever became of the one before."""
        with self.log.open("ab") as log:
            # A session of its own: Ctrl-C is for the harness, and a kill reaches guard and program at once.
            return subprocess.Popen(
                guarded(self.command, GRACE_SECONDS - 2),
                env={**os.environ, **self.environment},
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self.process is not None and self.process.poll() is None

    def kill(self) -> bool:
        """SIGKILL, now; False when it was away already."""
        if not self.running:
            return False
        assert self.process is not None
        if not self.downs or self.downs[-1][1] is not None:
            self.downs.append((monotonic(), None))
        _signal_group(self.process, signal.SIGKILL)
        self.process.wait()
        _let_go(self.process)
        return True

    @property
    def processes(self) -> list[int]:
        """The ids of the program's own processes, its guard left out."""
        return [] if self.process is None or not self.running else _descendants(self.process.pid)

    def freeze(self) -> bool:
        """SIGSTOP to the program, not to its guard; False when it is away."""
        found = self.processes
        if found:
            self.downs.append((monotonic(), None))
        for pid in found:
            _signal(pid, signal.SIGSTOP)
        return bool(found)

    def thaw(self) -> None:
        """SIGCONT."""
        for pid in self.processes:
            _signal(pid, signal.SIGCONT)
        if self.downs and self.downs[-1][1] is None:
            self.downs[-1] = self.downs[-1][0], monotonic()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the program, not to its guard."""
        for pid in self.processes:
            _signal(pid, number)

    def limit_memory(self, more: int) -> None:
        """Give each of the program's processes at most ``more`` bytes of address space beyond what it has."""
        for pid in self.processes:
            status = Path(f"/proc/{pid}/status").read_text()
            size = next(int(line.split()[1]) * 1024 for line in status.splitlines() if "VmSize" in line)
            resource.prlimit(pid, resource.RLIMIT_AS, (size + more, size + more))

    async def up(self) -> None:
        """Start it if need be and return when it is ready; raises NotReady.

        One that ends by itself is started again: some cannot start until what they lean on is there.
        """
        try:
            async with asyncio.timeout(READY_SECONDS):
                while True:
                    self.start()
                    with suppress(OSError):
                        if await self.ready() and self.running:
                            break
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise NotReady(f"{self.name} is not ready after {READY_SECONDS:.0f} s; see {self.log}") from None
        if self.once is not None:
            once, self.once = self.once, None
            await asyncio.to_thread(once)
        if self.downs and self.downs[-1][1] is None:
            self.downs[-1] = self.downs[-1][0], monotonic()

    def stop(self) -> int | None:
        """End it, gently if it lets itself; returns its exit code."""
        if self.process is None:
            return None
        _let_go(self.process)
        try:
            self.process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            pass
        finally:
            # Also what a program left behind of its own children.
            _signal_group(self.process, signal.SIGKILL)
            self.process.wait()
        return self.process.returncode


def module(*arguments: str) -> list[str]:
    """The command that runs ``python -m ARGUMENTS``."""
    return [sys.executable, "-m", *arguments]


def _let_go(process: subprocess.Popen[bytes]) -> None:
    """Close the pipe to the guard, which is its sign to stop the program."""
    if process.stdin is not None:
        with suppress(OSError):
            process.stdin.close()


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _descendants(pid: int) -> list[int]:
    """The children of a process, theirs, and so on."""
    found: list[int] = []
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in map(int, (task / "children").read_text().split()):
                found += [child, *_descendants(child)]
    return found
