"""Listening sockets of processes, as the kernel lists them."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

LOOPBACK = "127.0.0.1"


def listening(groups: Collection[int]) -> set[str]:
    """The IPv4 addresses, and IPv6 ones in hexadecimal, on which processes of these groups listen."""
    processes = [p for p in map(int, filter(str.isdigit, os.listdir("/proc"))) if _group(p) in groups]
    sockets = {
        os.readlink(fd) for p in processes for fd in Path(f"/proc/{p}/fd").iterdir() if fd.is_symlink()
    }
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets:
                found.add(_address(fields[1].partition(":")[0]))
    return found


def _address(text: str) -> str:
    if len(text) != 8:
        return text
    return ".".join(str(int(text[i : i + 2], 16)) for i in (6, 4, 2, 0))


def _group(process: int) -> int | None:
    try:
        return os.getpgid(process)
    except ProcessLookupError:
        return None
