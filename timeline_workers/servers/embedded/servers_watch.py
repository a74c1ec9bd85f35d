"""A watch over the embedded servers beside their processes: a broker that is stuck over a killed consumer,
and the room on the disk.

A broker that runs out of disk confirms messages that it cannot read back. So it is stopped, and with it
everybody who sends to it, while there is still room for what it is writing; it is started again when there is
more.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from timeline_workers.process.supervisor import Supervisor

# Short beside the time in which a fast disk takes what is kept free.
LOOK_SECONDS = 0.05
# It is started again when there is so much more than what is kept free: not in turns with every message.
_AGAIN = 1.25


class StuckConsumers:
    """Notices, in the log of the embedded broker, that it refuses a consumer for one that is gone.

    When a consumer's process is killed in the middle of a transfer, pulsar-lite 0.2 does not learn of it (it
    cleans up when a connection is closed, not when it is reset), and refuses the next consumer of that
    subscription until the broker itself is started again. All else that it knows, it keeps.
    """

    _SIGN = b" already exists"

    def __init__(self, log: Path) -> None:
        self._log, self._read = log, 0

    def noticed(self) -> bool:
        """Whether the log says so since the last call."""
        with suppress(OSError), self._log.open("rb") as log:
            log.seek(self._read)
            new = log.read()
            # A line that is not whole yet is read again.
            whole = new[: new.rfind(b"\n") + 1]
            self._read += len(whole)
            return self._SIGN in whole
        return False


def free_bytes(directory: Path) -> int:
    """How much may still be written to the file system of ``directory``. Raises OSError."""
    found = os.statvfs(directory)
    return found.f_bavail * found.f_frsize


def room_problem(directory: Path, least: int) -> str | None:
    """Why nothing may be sent to a broker whose data is in ``directory``, where at least ``least`` bytes are
    kept free; None when there is room.
    """
    free = free_bytes(directory)
    if free >= least:
        return None
    return (
        f"the disk of {directory} has {_megabytes(free)} free, and {_megabytes(least)} are kept free "
        "(TIMELINE_MIN_FREE_BYTES), since a broker without room loses what it has confirmed; make room"
    )


def _megabytes(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB"


@contextmanager
def watched(supervisor: Supervisor, broker: str, log: Path, directory: Path, least: int) -> Iterator[None]:
    """Start the job ``broker`` of ``supervisor`` again whenever it has a stuck consumer (clients connect
    again by themselves), and hold it down while less than ``least`` bytes are free for ``directory``.
    """
    leaving = threading.Event()
    stuck = StuckConsumers(log)

    def watch() -> None:
        full = False
        while not leaving.wait(LOOK_SECONDS):
            with suppress(OSError):  # the directory may be gone: then nothing can be kept
                if not full and (problem := room_problem(directory, least)) is not None:
                    full = True
                    supervisor.hold(broker, problem)
                elif full and (free := free_bytes(directory)) >= least * _AGAIN:
                    full = False
                    supervisor.release(broker, f"{_megabytes(free)} are free again")
            if not full and stuck.noticed():
                supervisor.restart(broker, "it refuses a consumer for one whose process was killed")

    watching = threading.Thread(target=watch, name="embedded-servers", daemon=True)
    watching.start()
    try:
        yield
    finally:
        leaving.set()
        watching.join()
