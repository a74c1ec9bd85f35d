"""Runs one server as a child and stops it when the process that asked for it is gone, however it went.

Started as ``python embedded_guard.py COMMAND ARG…`` with a pipe on standard input that nobody writes to:
when the other end closes (its owner left or was killed) or SIGTERM comes, the server gets SIGTERM, and
SIGKILL when it has not left within ten seconds. Exits with the server's exit code. Standard library only:
it must start fast.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

GRACE_SECONDS = 10.0


def main(command: list[str]) -> int:
    """Run ``command`` until it ends or the owner does; return its exit code (128 + n for signal n)."""
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL)

    def stop(*_: object) -> None:
        if server.poll() is None:
            server.terminate()
            timer = threading.Timer(GRACE_SECONDS, server.kill)
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
    code = server.wait()
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
