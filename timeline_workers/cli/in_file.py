"""Errors about what stands in a metric file, with the file's name and the place in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from timeline_workers.errors import ExpressionError, MetricError, UnknownNameError


@contextmanager
def naming(file: Path | str) -> Iterator[None]:
    """Have what is raised about the metric or source in ``file`` name it, once."""
    try:
        yield
    except ExpressionError as error:
        raise error.in_file(str(file), _begins(Path(file), error.text)) from None
    except (MetricError, UnknownNameError) as error:
        if str(file) in str(error):
            raise
        raise type(error)("\n".join(f"{file}: {line}" for line in str(error).splitlines())) from None


def _begins(file: Path, expression: str | None) -> list[tuple[int, int]] | None:
    """The line and column of ``file``, from 1, at which each line of its expression begins; None where the
    file does not have the expression as it is: in several lines that are not a literal block, or escaped.
    """
    try:
        text = file.read_text(encoding="utf-8")
        document = yaml.compose(text, yaml.SafeLoader)
    except (OSError, ValueError, yaml.YAMLError):
        return None
    fields = document.value if isinstance(document, yaml.MappingNode) else []
    node = next((value for key, value in fields if key.value == "expression"), None)
    if not isinstance(node, yaml.ScalarNode) or node.value != expression:
        return None
    lines = text.splitlines()
    first, column = node.start_mark.line, node.start_mark.column
    if node.style == "|":
        return _of_block(lines[first + 1 :], node.value.splitlines(), first + 2)
    column += len(node.style or "")  # the quote
    as_it_is = node.value and lines[first][column:].startswith(node.value)
    return [(first + 1, column + 1)] if as_it_is else None


def _of_block(raw: list[str], wanted: list[str], number: int) -> list[tuple[int, int]] | None:
    found: list[tuple[int, int]] = []
    for line, text in zip(raw, wanted, strict=False):
        indent = len(line) - len(text)
        if not line.endswith(text) or line[:indent].strip():
            return None
        found.append((number + len(found), indent + 1))
    return found
