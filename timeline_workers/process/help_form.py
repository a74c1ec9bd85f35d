"""Help form: how ``--help`` of every program looks: plain text of the terminal's width, with a word for each
value in place of its Python type.
"""

from __future__ import annotations

import typing
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand

_WORDS: dict[Any, str] = {int: "NUMBER", float: "NUMBER", str: "TEXT", Path: "FILE"}


class PlainCommand(TyperCommand):
    """A command whose values have words: NUMBER, TEXT, FILE."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        hints = {} if self.callback is None else typing.get_type_hints(self.callback)
        for parameter in self.params:
            if parameter.param_type_name == "argument":
                # Its name says what it is, and its type would stand beside it.
                vars(parameter)["display_type_rich"] = lambda ctx: None
            elif parameter.metavar is None:
                parameter.metavar = value_word(hints.get(str(parameter.name)))


def with_plain_help(app: typer.Typer) -> typer.Typer:
    """``app``, whose help is plain, also that of the commands in it."""
    app.rich_markup_mode = None
    for command in app.registered_commands:
        command.cls = PlainCommand
    for group in app.registered_groups:
        if group.typer_instance is not None:
            with_plain_help(group.typer_instance)
    return app


def value_word(hint: Any) -> str | None:
    """The word for a value of the type ``hint``; None for a flag, and for one of some words, which are
    shown.
    """
    return next((_WORDS[part] for part in _parts(hint) if isinstance(part, type) and part in _WORDS), None)


def _parts(hint: Any) -> list[Any]:
    return [hint, *(part for one in typing.get_args(hint) for part in _parts(one))]
