"""Build the wheel of a release from its commit: ``python -m tests.upgrade.build_release COMMIT``.

The wheels in ``releases/`` are what the upgrade tests run as "the previous release". They are built from what
git has, with a fixed build backend and the commit's own time, so that the same commit gives the same bytes:
``--check`` says whether the wheel that is there is that one.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
from io import BytesIO
from pathlib import Path
from typing import Annotated

import typer

RELEASES = Path(__file__).parent / "releases"
ROOT = Path(__file__).parents[2]
BACKEND = "hatchling==1.27.0"  # its version is written into every wheel


def build(commit: str, folder: Path) -> Path:
    """Build the wheel of ``commit`` into ``folder`` and return its path."""

    def git(*arguments: str) -> bytes:
        return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True).stdout

    committed = git("show", "-s", "--format=%ct", commit).decode().strip()
    with tempfile.TemporaryDirectory() as name:
        source = Path(name) / "source"
        with tarfile.open(fileobj=BytesIO(git("archive", commit))) as archive:
            archive.extractall(source, filter="data")
        constraint = Path(name) / "constraint.txt"
        constraint.write_text(f"{BACKEND}\n")
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", name]
        environment = {**os.environ, "SOURCE_DATE_EPOCH": committed, "PIP_CONSTRAINT": str(constraint)}
        environment["PIP_BUILD_CONSTRAINT"] = str(constraint)
        subprocess.run([*command, str(source)], check=True, env=environment)
        (wheel,) = Path(name).glob("*.whl")
        folder.mkdir(parents=True, exist_ok=True)
        made = folder / wheel.name
        made.write_bytes(wheel.read_bytes())
    return made


def main(
    commit: Annotated[str, typer.Argument(help="The commit of the release, such as cf9a4de for 0.1.0.")],
    check: Annotated[bool, typer.Option("--check", help="Compare with the wheel that is there.")] = False,
) -> None:
    """Write the wheel of a release into tests/upgrade/releases, or compare it with the one there."""
    if not check:
        typer.echo(_told(build(commit, RELEASES)))
        return
    with tempfile.TemporaryDirectory() as name:
        made = build(commit, Path(name))
        there = RELEASES / made.name
        typer.echo(_told(made))
        if not there.is_file() or there.read_bytes() != made.read_bytes():
            typer.echo(f"{there} is not the wheel of {commit}", err=True)
            raise typer.Exit(1)


def _told(wheel: Path) -> str:
    return (
        f"{wheel.name} {wheel.stat().st_size} bytes sha256 {hashlib.sha256(wheel.read_bytes()).hexdigest()}"
    )


if __name__ == "__main__":
    typer.run(main)
