"""Lines of JSON at the end of a file, or on standard output: the message as a CloudEvent."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from timeline_workers.targets.secrets import Secrets
from timeline_workers.targets.sending import Answer, Parcel, Send
from timeline_workers.targets.target import FileTarget, StdoutTarget


@asynccontextmanager
async def opened(target: FileTarget | StdoutTarget, sink: str, secrets: Secrets) -> AsyncIterator[Send]:
    """See ``sending.Send``."""

    async def send(parcels: Sequence[Parcel]) -> list[Answer]:
        lines = b"".join(msgspec.json.encode(parcel.event) + b"\n" for parcel in parcels)
        if isinstance(target, FileTarget):
            await asyncio.to_thread(_append, Path(target.path), lines)
            return [Answer(verdict="taken", why=f"added to {target.path}")] * len(parcels)
        await asyncio.to_thread(_print, lines)
        return [Answer(verdict="taken", why="printed by the worker process")] * len(parcels)

    yield send


def _append(path: Path, lines: bytes) -> None:
    # Whoever was killed in the middle of a line has left its beginning there.
    with path.open("ab+") as file:
        end = file.seek(0, os.SEEK_END)
        if end:
            file.seek(end - 1)
            lines = lines if file.read(1) == b"\n" else b"\n" + lines
        file.write(lines)
        file.flush()
        os.fsync(file.fileno())


def _print(lines: bytes) -> None:
    sys.stdout.write(lines.decode())
    sys.stdout.flush()
