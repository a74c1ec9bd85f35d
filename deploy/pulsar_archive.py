"""Obtaining the standalone Apache Pulsar broker: the whole distribution, as Maven Central serves it.

It is unpacked once under the user's cache directory (``$XDG_CACHE_HOME/timeline-workers``, by default
``~/.cache/timeline-workers``) and found there from then on, without a network. ``TIMELINE_PULSAR_HOME`` names
an unpacked distribution to use instead.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from timeline_workers.errors import TimelineError

VERSION = "4.0.8"
SHA256 = "35c7d064c9e0928edbf2e708989faba0379662f98aa84ce0d4190c59efb6765e"
JAVA_NEEDED = 17
DOWNLOAD_SECONDS = 900
_PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.6.0:copy"
_ARTIFACT = f"org.apache.pulsar:pulsar-server-distribution:{VERSION}:tar.gz:bin"


class PulsarUnavailableError(TimelineError):
    """The broker cannot be had on this machine: one line that says what is missing."""


def java() -> Path:
    """The Java runtime, ``$JAVA_HOME/bin/java`` or the one on the path.

    Raises PulsarUnavailableError when there is none or it is too old.
    """
    home = os.environ.get("JAVA_HOME")
    found = shutil.which(str(Path(home, "bin", "java")) if home else "java")
    if found is None:
        raise PulsarUnavailableError(
            f"no Java was found; Apache Pulsar {VERSION} needs {JAVA_NEEDED} or newer"
        )
    said = subprocess.run([found, "-version"], capture_output=True, text=True, check=False).stderr
    version = re.search(r'version "(\d+)', said)
    if version is None or int(version[1]) < JAVA_NEEDED:
        first = said.strip().partition("\n")[0]
        raise PulsarUnavailableError(
            f"{found} is too old ({first}); Apache Pulsar {VERSION} needs Java {JAVA_NEEDED} or newer"
        )
    return Path(found)


def distribution() -> Path:
    """The directory of the unpacked distribution; downloads it (245 MB) the first time.

    Raises PulsarUnavailableError when Maven or the archive cannot be had.
    """
    if given := os.environ.get("TIMELINE_PULSAR_HOME"):
        if not Path(given, "bin", "pulsar").is_file():
            raise PulsarUnavailableError(f"TIMELINE_PULSAR_HOME={given} has no bin/pulsar")
        return Path(given).absolute()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "timeline-workers"
    home = cache / f"apache-pulsar-{VERSION}"
    if not home.is_dir():
        try:
            cache.mkdir(parents=True, exist_ok=True)
            # Of two processes that need it at once, the second waits and finds it there.
            with (cache / "lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if not home.is_dir():
                    _fetch(home)
        except OSError as error:
            raise PulsarUnavailableError(
                f"Apache Pulsar cannot be unpacked under {cache}: {error}"
            ) from error
    return home


def _fetch(home: Path) -> None:
    """Download and unpack; ``home`` comes into being at once and whole."""
    maven = shutil.which("mvn")
    if maven is None:
        raise PulsarUnavailableError(
            f"Apache Pulsar {VERSION} is not in {home.parent}, and Maven (mvn), which would download it, was "
            "not found"
        )
    with tempfile.TemporaryDirectory(dir=home.parent) as scratch:
        command = [maven, "-B", "-q", _PLUGIN, f"-Dartifact={_ARTIFACT}", f"-DoutputDirectory={scratch}"]
        try:
            done = subprocess.run(
                command, cwd=scratch, capture_output=True, text=True, timeout=DOWNLOAD_SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            raise PulsarUnavailableError(
                f"Maven did not download {_ARTIFACT} within {DOWNLOAD_SECONDS // 60} minutes"
            ) from None
        archives = list(Path(scratch).glob("*.tar.gz"))
        if done.returncode or not archives:
            said = next((line for line in done.stdout.splitlines() if "ERROR" in line), "no reason given")
            raise PulsarUnavailableError(f"Maven could not download {_ARTIFACT}: {said[:300]}")
        with archives[0].open("rb") as archive:
            digest = hashlib.file_digest(archive, "sha256").hexdigest()
        if digest != SHA256:
            raise PulsarUnavailableError(
                f"{archives[0].name} is not what was expected: its SHA-256 is {digest}"
            )
        with tarfile.open(archives[0]) as archive:
            archive.extractall(Path(scratch, "unpacked"), filter="data")
        Path(scratch, "unpacked", home.name).replace(home)
