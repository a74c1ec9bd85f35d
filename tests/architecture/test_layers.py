"""The import contracts of ``pyproject.toml``: they hold for every package, and they can fail."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
PROGRAMS = ("timeline_workers", "workflows", "feeder", "producer")
LINT = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]


def test_every_package_has_a_layer() -> None:
    """A package that is added to the library is in the contract of layers, or nothing checks it."""
    contracts = tomllib.loads((TOP / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    listed = {name for line in layers for name in line.replace(":", "|").replace(" ", "").split("|")}
    there = {f"timeline_workers.{p.stem}" for p in (TOP / "timeline_workers").glob("[a-z]*.py")} | {
        f"timeline_workers.{p.parent.name}" for p in (TOP / "timeline_workers").glob("*/__init__.py")
    }
    assert there - listed == set()


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("timeline_workers/columns/rows.py", "import timeline_workers.language.tree"),
        ("timeline_workers/runtime/node_worker.py", "import workflows.messages"),
        ("timeline_workers/algebra/predicates.py", "import temporalio"),
        ("feeder/recovery/replay.py", "import pulsar"),
        ("feeder/routing/idle_partitions.py", "import feeder.source.pulsar_topic"),
        ("timeline_workers/cli/overview_command.py", "import workflows.client.ask"),
        ("timeline_workers/cli/dev.py", "import temporalio.client"),
        ("timeline_workers/cli/worker_command.py", "import feeder.loop_clock"),
        ("timeline_workers/web/dvr.py", "import timeline_workers.servers.embedded"),
        # What is new is in no list, and may none of it either.
        ("feeder/newtop.py", "import pulsar"),
        ("feeder/newtop.py", "import feeder.source.pulsar_topic"),
        ("feeder/newroom/__init__.py", "import temporalio.client"),
        ("timeline_workers/newroom/__init__.py", "import temporalio"),
        ("timeline_workers/newroom/__init__.py", "import timeline_workers.servers.pulsar"),
        ("timeline_workers/newtop.py", "import _pulsar"),
        ("workflows/newtop.py", "import pulsar"),
        ("timeline_workers/alerts/episodes.py", "import sqlite3"),
        ("timeline_workers/playback/clock.py", "import starlette"),
    ],
)
def test_a_forbidden_import_is_found(tmp_path: Path, module: str, line: str) -> None:
    """An import upwards, or of a server's client library, breaks a contract, also in a file that is new."""
    copied(tmp_path)
    (tmp_path / module).parent.mkdir(exist_ok=True)
    with (tmp_path / module).open("a", encoding="utf-8") as file:
        file.write(f"\n{line}\n")
    assert linted(tmp_path) == 1


def test_the_contracts_hold(tmp_path: Path) -> None:
    copied(tmp_path)
    assert linted(tmp_path) == 0


def copied(top: Path) -> None:
    for program in PROGRAMS:
        shutil.copytree(TOP / program, top / program, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copyfile(TOP / "pyproject.toml", top / "pyproject.toml")


def linted(top: Path) -> int:
    return subprocess.run(LINT, cwd=top, env={"PYTHONPATH": str(top)}, capture_output=True).returncode
