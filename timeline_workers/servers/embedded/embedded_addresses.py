"""Addresses of the embedded servers of a data directory, as their owner records them for everybody else in
the same directory.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import closing
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from timeline_workers.errors import ConnectionFailedError


class Addresses(BaseModel):
    """Where the embedded servers of one data directory listen. ``pid``: the process that owns them;
    ``history``: the address of the history store that goes with them, None where there is none.
    """

    model_config = ConfigDict(frozen=True)

    temporal: str
    pulsar: str
    ui: str
    pid: int
    data_dir: Path
    history: str | None = None


def data_directory() -> Path:
    """The data directory in force: ``TIMELINE_DATA_DIR``, else ``./.timeline``; absolute."""
    return Path(os.environ.get("TIMELINE_DATA_DIR") or ".timeline").absolute()


def running_addresses(data_dir: Path | None = None) -> Addresses | None:
    """Return where the servers of ``data_dir`` listen, or None when none run there.

    A directory left behind by a killed process counts as not running: its lock went with the process.
    """
    directory = data_directory() if data_dir is None else data_dir.absolute()
    try:
        lock = (directory / "lock").open("r")
    except OSError:
        return None
    with closing(lock):
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            try:
                return Addresses.model_validate_json((directory / "addresses.json").read_bytes())
            except (OSError, ValidationError):
                return None  # still starting
    return None


def require_running(service: str) -> Addresses:
    """Return the running servers, or raise ConnectionFailedError that says how to start or name
    ``service``.
    """
    running = running_addresses()
    if running is None:
        raise ConnectionFailedError(
            f"no address is set for {service} and no embedded servers run in {data_directory()}; "
            "start them with `timeline dev`, or set TEMPORAL_ADDRESS and TIMELINE_PULSAR_URL"
        )
    return running
