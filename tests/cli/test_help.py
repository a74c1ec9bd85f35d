"""Help of every command: words for values, no Python types, no wider than the terminal."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import typer

from timeline_workers.cli.main import build

TYPES = re.compile(r"<(str|int|float|bool|path|list|tuple|datetime)\b")


def helps(command: Any, above: typer.Context | None = None) -> Iterator[str]:
    """What ``--help`` of a command prints, and of those in it."""
    context = typer.Context(command, parent=above, info_name=command.name, terminal_width=80)
    yield command.get_help(context)
    for sub in getattr(command, "commands", {}).values():
        yield from helps(sub, context)


def test_help_speaks_of_values_not_types() -> None:
    told = list(helps(typer.main.get_command(build())))
    assert len(told) > 20
    for text in told:
        assert not TYPES.search(text), text
        assert max(map(len, text.splitlines())) <= 80, text
    assert any("--batch NUMBER" in text for text in told)
