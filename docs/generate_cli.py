"""Writes ``docs/cli.md`` from the commands themselves: ``python docs/generate_cli.py``.

Usage lines, help texts and defaults come from the Typer commands and the signatures of their functions, so
the page cannot say what the programs do not. A test compares the page with what this makes.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path
from typing import Any

import typer

from timeline_workers.cli.main import build

HIDDEN = ("help", "install_completion", "show_completion")
PAGE = Path(__file__).with_name("cli.md")
INTRODUCTION = """\
# Commands

Made by `python docs/generate_cli.py`; do not edit. Results go to standard output, everything else to standard
error. [operations.md](operations.md) lists the exit codes and the environment variables. `python -m feeder`
and `python -m producer` are `timeline feed` and `timeline produce`, with the same options.
"""


def page() -> str:
    """The text of ``docs/cli.md``."""
    return "\n".join([INTRODUCTION, *_program("timeline", build())])


def _program(name: str, app: typer.Typer) -> Iterator[str]:
    command: Any = typer.main.get_command(app)
    inner: dict[str, Any] = getattr(command, "commands", {})
    yield f"## {name}\n\n{_prose(command.help)}\n"
    for sub in inner.values():
        yield from _command(f"{name} {sub.name}", sub)


def _command(name: str, command: Any) -> Iterator[str]:
    """The section of a command; of a group of commands, those of its commands."""
    inner: dict[str, Any] = getattr(command, "commands", {})
    if not inner:
        yield _section(name, command, 3)
    for sub in inner.values():
        yield from _command(f"{name} {sub.name}", sub)


def _section(name: str, command: Any, level: int) -> str:
    parameters = [p for p in command.params if p.name not in HIDDEN]
    types = typing.get_type_hints(command.callback)
    arguments = [p for p in parameters if p.param_type_name == "argument"]
    options = [p for p in parameters if p.param_type_name == "option"]
    usage = " ".join([name, *(["[OPTIONS]"] if options else []), *map(_usage, arguments)])
    lines = [f"{'#' * level} {name}", "", f"`{usage}`", "", _prose(command.help)]
    rows = [_row(f"`{a.metavar}`", a) for a in arguments]
    rows += [_row(_spelling(o, types.get(o.name)), o) for o in options]
    if rows:
        lines += ["", "| | | default |", "|---|---|---|", *rows]
    return "\n".join([*lines, ""])


def _usage(argument: Any) -> str:
    name = argument.metavar if argument.required else f"[{argument.metavar}]"
    return f"{name}..." if argument.nargs != 1 else name


def _row(spelling: str, parameter: Any) -> str:
    cells = (spelling, _prose(parameter.help), _default(parameter))
    # A pipe in a table would begin a new cell.
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _spelling(option: Any, hint: Any) -> str:
    names = ", ".join(sorted(option.opts, key=len))
    value = "" if option.is_flag else option.metavar or _value(hint)
    return f"`{names} {value}`" if value else f"`{names}`"


def _value(hint: Any) -> str:
    hints = [h for h in (typing.get_args(hint) or (hint,)) if h is not type(None)]
    if hints and all(isinstance(h, str) for h in hints):
        return " or ".join(hints)
    first = hints[0] if hints else str
    if isinstance(first, type) and issubclass(first, Enum):
        return " or ".join(str(member.value) for member in first)
    if typing.get_args(first):
        return _value(first)
    return {int: "NUMBER", float: "NUMBER", Path: "FILE"}.get(first, "TEXT")


def _default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    shown = getattr(parameter, "show_default", None)
    if isinstance(shown, str):
        return shown
    value = parameter.default() if isinstance(parameter.default, Callable) else parameter.default  # type: ignore[arg-type]
    if value is None or value is False:
        return ""
    return str(value.value if isinstance(value, Enum) else value)


def _prose(text: str | None) -> str:
    return " ".join((text or "").replace("``", "`").split())


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
