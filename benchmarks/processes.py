"""Processor time of each kind of process that descends from this one, by /proc."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

# In this order: the first that a command line contains says what it is.
KINDS = {
    "embedded_guard": "guard",
    "timeline_workers worker": "worker",
    "-m feeder": "feeder",
    "pulsar-lite": "broker",
    "org.apache.pulsar": "broker",
    "server start-dev": "server",
    "--service history": "history",
    "--service matching": "matching",
    "--service frontend": "frontend",
    "--service worker": "system worker",
    "postgres": "database",
}


def kind_of(command: str) -> str:
    """The kind of process that a command line starts."""
    return next((kind for part, kind in KINDS.items() if part in command), "other")


def seconds_by_kind() -> Counter[str]:
    """Processor seconds by kind, each with its children that have ended. Empty without /proc."""
    found: dict[int, tuple[int, str, int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # it has just ended
        found[int(folder.name)] = int(fields[1]), command, sum(map(int, fields[11:15]))
    ours = {os.getpid()}
    while more := {pid for pid, (parent, *_) in found.items() if parent in ours} - ours:
        ours |= more
    used: Counter[str] = Counter()
    for pid in ours - {os.getpid()}:
        _, command, ticks = found[pid]
        used[kind_of(command)] += ticks / os.sysconf("SC_CLK_TCK")  # type: ignore[assignment]
    return used
