"""Output of commands: results on stdout as JSON lines or a table, everything else on stderr."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from itertools import islice
from typing import Annotated, Any

import typer
from pydantic import BaseModel

from timeline_workers.process.exit_codes import MEANINGS, ExitCode as ExitCode

from .text_table import drawn

_LINES_AT_ONCE = 1_000


EXIT_CODES = f"Exit codes: {'; '.join(f'{code} {meaning}' for code, meaning in MEANINGS.items())}."


class Output(StrEnum):
    """The forms of results."""

    json = "json"
    table = "table"


OutputOption = Annotated[
    Output, typer.Option("-o", "--output", help="json: one object a line; table: for people.")
]


def complain(message: str) -> None:
    """Write one message to stderr."""
    sys.stderr.write(f"{message}\n")


def discard_stdout() -> None:
    """Give up on stdout: whoever read it (``timeline eval … | head``) has seen enough. It is no failure."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def to_json(row: BaseModel | Mapping[str, Any]) -> str:
    """One line of JSON, its fields in the order of the model."""
    data = row.model_dump() if isinstance(row, BaseModel) else row
    return json.dumps(data, ensure_ascii=False)


def emit(rows: Iterable[BaseModel | Mapping[str, Any]], output: Output = Output.json) -> None:
    """Print answers, or any other flat objects, on stdout.

    JSON lines are written as they come. A table takes all rows first; the spans of one answer, and the values
    of one State's change, are rows of their own there.
    """
    if output is Output.json:
        lines = (to_json(row) + "\n" for row in rows)
        try:
            while text := "".join(islice(lines, _LINES_AT_ONCE)):
                sys.stdout.write(text)
            sys.stdout.flush()
        except BrokenPipeError:
            discard_stdout()
        return
    _print_table([flat for row in rows for flat in _flatten(row)])


def _flatten(row: BaseModel | Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    data = dict(row.model_dump() if isinstance(row, BaseModel) else row)
    for inner in ("spans", "seconds_by_value"):
        if isinstance(data.get(inner), list):
            items = data.pop(inner)
            yield from ({**data, **item} for item in items)
            return
    yield data


def _print_table(rows: list[dict[str, Any]]) -> None:
    names = dict.fromkeys(name for row in rows for name in row)
    right = frozenset(name for name in names if all(_is_number(row.get(name)) for row in rows))
    shown = [{name: _cell(row[name]) if name in row else "" for name in names} for row in rows]
    sys.stdout.write(drawn(shown, right=right))


def _is_number(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _cell(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
