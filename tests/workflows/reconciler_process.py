"""A process that calls a reconciler, for tests that kill it, stop it, or cut it off.

``RECONCILER_FOLDER=FOLDER python -m tests.workflows.reconciler_process ADDRESS``: each call appends lines to
FOLDER/calls; while FOLDER/hang is there a call goes on, and while FOLDER/stubborn names its process it
swallows its cancellation, too.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from timeline_workers.client import TimelineClient
from timeline_workers.client.reconciler_client import Reconcilers
from timeline_workers.reconcilers import Context, Level, reconciler

FOLDER = Path(os.environ.get("RECONCILER_FOLDER", "."))


class Held(BaseModel):
    """The cache."""

    value: Any = None


def note(what: str, context: Context[Held], value: Any) -> None:
    line = {"what": what, "token": context.token, "value": value, "pid": os.getpid(), "at": time.monotonic()}
    with (FOLDER / "calls").open("a") as file:
        file.write(json.dumps(line) + "\n")


def calls(folder: Path) -> list[dict[str, Any]]:
    """What was noted so far, whole lines only."""
    file = folder / "calls"
    lines = file.read_text().splitlines(keepends=True) if file.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def fenced(context: Context[Held], value: Any) -> None:
    """A resource that refuses smaller tokens."""
    file = FOLDER / "resource"
    held = json.loads(file.read_text()) if file.exists() else {"token": 0}
    if context.token < held["token"]:
        note("refused", context, value)
        return
    fresh = FOLDER / f"resource.{os.getpid()}"
    fresh.write_text(json.dumps({"token": context.token, "value": value}))
    fresh.rename(file)


@reconciler("held", cache=Held, lease="2s")
async def hold(context: Context[Held], desired: Level[Any]) -> Held:
    """See the module."""
    note("begin", context, desired.value)
    try:
        while (FOLDER / "hang").exists():
            await asyncio.sleep(0.05)
        stubborn = FOLDER / "stubborn"
        while stubborn.exists() and stubborn.read_text() == str(os.getpid()):
            try:
                await asyncio.sleep(0.05)
            except asyncio.CancelledError:
                note("swallowed", context, desired.value)
        fenced(context, desired.value)
        note("done", context, desired.value)
    finally:
        note("end", context, desired.value)
    return Held(value=desired.value)


@reconciler("own-process", cache=Held, lease="4s", process=True)
def block(context: Context[Held], desired: Level[Any]) -> Held:
    """Blocks its thread for as long as FOLDER/hang is there."""
    note("begin", context, desired.value)
    while (FOLDER / "hang").exists():
        time.sleep(0.05)
    note("done", context, desired.value)
    return Held(value=desired.value)


async def main(address: str) -> None:
    await Reconcilers(await TimelineClient.connect(address)).run("held", "own-process")


if __name__ == "__main__":
    # Under the name by which a process of its own finds it.
    from tests.workflows import reconciler_process

    asyncio.run(reconciler_process.main(sys.argv[1]))
