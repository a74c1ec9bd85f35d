"""Help of every command: words for values, no Python types, no wider than the terminal."""

from __future__ import annotations

import re
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from timeline_workers.cli.main import build

APP = build()
TYPES = re.compile(r"<(str|int|float|bool|path|list|tuple|datetime)\b")


def paths(command: Any, before: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The words by which each command is called, groups of commands included."""
    inner: dict[str, Any] = getattr(command, "commands", {})
    return [before, *(path for name, sub in inner.items() for path in paths(sub, (*before, name)))]


@pytest.mark.parametrize("path", paths(typer.main.get_command(APP)), ids=" ".join)
def test_help_speaks_of_values_not_types(path: tuple[str, ...]) -> None:
    told = CliRunner().invoke(APP, [*path, "--help"], env={"COLUMNS": "80"})
    assert told.exit_code == 0
    assert not TYPES.search(told.output), told.output
    assert max(map(len, told.output.splitlines())) <= 80
