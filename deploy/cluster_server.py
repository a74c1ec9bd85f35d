"""Obtaining Temporal's server and its SQL tool: built from their released source by Go, once.

They are kept under the user's cache directory (``$XDG_CACHE_HOME/timeline-workers``, by default
``~/.cache/timeline-workers``). The build takes some seven minutes on two cores.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from timeline_workers.errors import TimelineError

VERSION = "1.32.0"
_MODULE = "go.temporal.io/server"
_BUILD_SECONDS = 3600


class ClusterUnavailableError(TimelineError):
    """The cluster cannot be had on this machine: one line that says what is missing."""


@dataclass(frozen=True, slots=True)
class Binaries:
    """``server`` and ``sql`` are programs; ``schema`` holds the versioned schemas for PostgreSQL."""

    server: Path
    sql: Path
    schema: Path


def built() -> bool:
    """Whether the programs are there, so that ``binaries`` gives them at once."""
    return _home().is_dir()


def binaries() -> Binaries:
    """The programs, built now if they are not there yet.

    Raises ClusterUnavailableError when Go is missing or the build fails.
    """
    home = _home()
    if not home.is_dir():
        home.parent.mkdir(parents=True, exist_ok=True)
        # Of two processes that need it at once, the second waits and finds it there.
        with (home.parent / "temporal-server.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not home.is_dir():
                _build(home)
    return Binaries(home / "server", home / "sql", home / "schema")


def _home() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "timeline-workers" / f"temporal-server-{VERSION}"


def _build(home: Path) -> None:
    """Build into ``home``, which comes into being at once and whole."""
    go = shutil.which("go")
    if go is None:
        raise ClusterUnavailableError(
            f"Temporal's server {VERSION} is not in {home.parent}, and Go, which builds it, was not found"
        )
    with tempfile.TemporaryDirectory(dir=home.parent) as scratch:
        made = Path(scratch, "made")
        made.mkdir()
        programs = [f"{_MODULE}/cmd/server@v{VERSION}", f"{_MODULE}/cmd/tools/sql@v{VERSION}"]
        _run([go, "install", *programs], scratch, {"GOBIN": str(made), "GOFLAGS": "-trimpath"})
        found = _run([go, "mod", "download", "-json", f"{_MODULE}@v{VERSION}"], scratch, {})
        source = Path(json.loads(found)["Dir"])
        shutil.copytree(source / "schema" / "postgresql" / "v12", made / "schema")
        made.replace(home)


def _run(command: list[str], directory: str, environment: dict[str, str]) -> str:
    done = subprocess.run(
        command,
        cwd=directory,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=_BUILD_SECONDS,
        check=False,
    )
    if done.returncode:
        last = "\n".join(done.stderr.strip().splitlines()[-5:])
        raise ClusterUnavailableError(f"{' '.join(command[:3])} failed with code {done.returncode}:\n{last}")
    return done.stdout
