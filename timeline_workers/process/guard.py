"""Runs one program as a child and stops it when the process that asked for it is gone, however it went.

Started as ``python embedded_guard.py GRACE COMMAND ARG…`` with a pipe on standard input that nobody writes
to: when the other end closes (its owner left or was killed) or SIGTERM comes, the program gets SIGTERM, and
SIGKILL when it has not left within GRACE seconds. On Linux it also ends when the guard itself is killed.
Exits with the program's exit code. Standard library only: it must start fast.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

_PR_SET_PDEATHSIG = 1


def guarded(command: Sequence[str], grace: float) -> list[str]:
    """Return the command that runs ``command`` under the guard; give it a pipe as standard input."""
    return [sys.executable, "-I", "-S", str(Path(__file__)), str(grace), *command]


def main(grace: float, command: list[str]) -> int:
    """Run ``command`` until it ends or the owner does; return its exit code (128 + n for signal n)."""
    program = subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=_ends_with_us())

    def stop(*_: object) -> None:
        if program.poll() is None:
            program.terminate()
            timer = threading.Timer(grace, program.kill)
            timer.daemon = True
            timer.start()

    def watch_owner() -> None:
        # Not sys.stdin: a buffered reader blocks interpreter exit while it is inside read().
        while os.read(0, 64):
            pass
        stop()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=watch_owner, daemon=True).start()
    code = program.wait()
    return code if code >= 0 else 128 - code


def _ends_with_us() -> Callable[[], object] | None:
    """What a child calls to be killed when the guard is: without it nobody could stop the program then."""
    if sys.platform != "linux":
        return None
    import ctypes

    control = ctypes.CDLL(None).prctl
    return lambda: control(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), sys.argv[2:]))
