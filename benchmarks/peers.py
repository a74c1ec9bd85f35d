"""Peers, each in a virtual environment of its own, so that what they depend on cannot clash.

An environment is made the first time under the user's cache directory
(``$XDG_CACHE_HOME/timeline-workers/peers``, by default ``~/.cache/timeline-workers/peers``), by pip through
whatever index the machine is configured for, and found there from then on.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from timeline_workers.errors import TimelineError

INSTALL_SECONDS = 1_800
_STAMP = "requirements.json"


class PeerUnavailableError(TimelineError):
    """A peer cannot be had on this machine: one line that says why."""


@dataclass(frozen=True, slots=True)
class Peer:
    """One installable peer. ``requirements``: the lower bounds that were tested."""

    name: str
    requirements: tuple[str, ...]

    @property
    def home(self) -> Path:
        """Its environment."""
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        return cache / "timeline-workers" / "peers" / self.name

    @property
    def python(self) -> Path:
        """The interpreter of its environment."""
        return self.home / "bin" / "python"

    @property
    def installed(self) -> bool:
        """Whether its environment is there, as it is wanted now."""
        stamp = self.home / _STAMP
        return stamp.exists() and stamp.read_text() == json.dumps(self.requirements)

    def ensure(self, tell: Callable[[str], object] = lambda line: None) -> Path:
        """Return ``python``, making the environment the first time. Raises PeerUnavailableError."""
        self.home.parent.mkdir(parents=True, exist_ok=True)
        with (self.home.parent / f"{self.name}.lock").open("w") as lock:
            # Of two benchmarks that need it at once, the second waits and finds it there.
            fcntl.flock(lock, fcntl.LOCK_EX)
            if self.installed:
                return self.python
            tell(f"installing {self.name} into {self.home}")
            self._install()
            (self.home / _STAMP).write_text(json.dumps(self.requirements))
        return self.python

    def _install(self) -> None:
        made = [sys.executable, "-m", "venv", str(self.home)]
        asked = [str(self.python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        for command in (made, [*asked, *self.requirements]):
            try:
                done = subprocess.run(
                    command, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False
                )
            except subprocess.TimeoutExpired:
                raise PeerUnavailableError(
                    f"{self.name} could not be installed within {INSTALL_SECONDS // 60} minutes"
                ) from None
            if done.returncode:
                shutil.rmtree(self.home, ignore_errors=True)
                said = (done.stderr or done.stdout).strip().splitlines()
                last = next((line for line in reversed(said) if line.startswith("ERROR")), "no reason given")
                raise PeerUnavailableError(f"{self.name} cannot be installed: {last}")

    def version(self) -> str:
        """The installed version of the first requirement."""
        asked = "import sys, importlib.metadata as m; print(m.version(sys.argv[1]))"
        name = self.requirements[0].split(">=")[0]
        done = subprocess.run(
            [self.python, "-c", asked, name], capture_output=True, text=True, timeout=60, check=False
        )
        return done.stdout.strip() or "unknown"


PEERS = {
    peer.name: peer
    for peer in (
        Peer("duckdb", ("duckdb>=2.0", "numpy>=2.4", "pyarrow>=26.0")),
        Peer("polars", ("polars>=2.1", "numpy>=2.4")),
        Peer("bytewax", ("bytewax>=0.21.1",)),
        Peer("reelay", ("reelay>=25.0",)),
        Peer("rtamt", ("rtamt>=0.4.10",)),
        Peer("pyspark", ("pyspark>=4.3",)),
        Peer("flink", ("apache-flink>=2.3",)),
    )
}
