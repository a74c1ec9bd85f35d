"""Full disks under the embedded servers: each has its data on a small tmpfs, which is filled."""

from __future__ import annotations

import subprocess
from contextlib import suppress
from pathlib import Path

from tests.chaos.scene import Act, Course, Scene, SceneError, Step
from tests.chaos.stacks import Stack

SIZE = "192m"
ZEROS = bytes(1 << 16)
PARTS = {"broker": "pulsar", "temporal": "temporal"}


def mount(stack: Stack) -> None:
    """Put the data of each server on a file system of its own; needs the right to mount."""
    for part in PARTS.values():
        where = stack.directory / part
        command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(where)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SceneError(f"a tmpfs cannot be mounted: {done.stderr.strip()}; run this scene as root")


def unmount(stack: Stack) -> None:
    """Lazily: who still has files open there keeps them."""
    for part in PARTS.values():
        subprocess.run(["umount", "-l", str(stack.directory / part)], check=False, capture_output=True)


def _filler(course: Course, name: str) -> Path:
    return course.stack.directory / PARTS[name] / "filler"


def fill(name: str) -> Step:
    """Leave no byte free."""

    async def inflict(course: Course) -> None:
        with suppress(OSError), _filler(course, name).open("wb", buffering=0) as file:
            while file.write(ZEROS):  # until there is no space left
                pass

    return inflict


def free(name: str) -> Step:
    """There is space again, and the server is started again."""

    async def heal(course: Course) -> None:
        _filler(course, name).unlink(missing_ok=True)
        await course.stack.kill(name, 0.5)

    return heal


SCENE = Scene(
    name="full-disk",
    about="the disk of an embedded server is full",
    acts=(
        Act(
            "temporal",
            "the disk of Temporal's dev server is full for 20 s",
            fill("temporal"),
            free("temporal"),
            operator="make space, and start the server again",
            hold=20,
        ),
        Act(
            "broker",
            "the disk of the embedded broker is full for 20 s",
            fill("broker"),
            free("broker"),
            operator="make space, start the server again, and send again what it has confirmed since",
            lost="messages that the broker confirmed while its disk was full",
            hold=20,
        ),
    ),
    prepare=mount,
    clean_up=unmount,
    may_miss_confirmed=True,
)
