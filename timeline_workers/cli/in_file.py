"""Errors about what stands in a metric file, with the file's name and the place in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from timeline_workers.errors import ExpressionError, MetricError, RuleError, TargetError, UnknownNameError
from timeline_workers.metric.definition_file import expression_places


@contextmanager
def naming(file: Path | str) -> Iterator[None]:
    """Have what is raised about the metric, source, rule or target in ``file`` name it, once."""
    try:
        yield
    except ExpressionError as error:
        raise error.in_file(str(file), _begins(Path(file), error.text)) from None
    except (MetricError, RuleError, TargetError, UnknownNameError) as error:
        if str(file) in str(error):
            raise
        raise type(error)("\n".join(f"{file}: {line}" for line in str(error).splitlines())) from None


def _begins(file: Path, expression: str | None) -> list[tuple[int, int]] | None:
    try:
        return expression_places(file.read_text(encoding="utf-8"), expression)
    except (OSError, ValueError):
        return None
