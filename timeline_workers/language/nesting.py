"""The limit on the depth of a tree: far from the recursion limit, whoever walks it and however deep the
call.

A chain such as ``a || b || c`` is as deep as it has operators.
"""

from __future__ import annotations

from timeline_workers.errors import ExpressionError

from . import tree as t

MAX_DEPTH = 100
HINT = "each operator in a chain such as a || b || c counts as one level"


def refuse_deep(expression: t.Expression, text: str | None = None) -> None:
    """Raise ExpressionError when ``expression`` has more than ``MAX_DEPTH`` levels."""
    level, depth = [expression], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise too_deep(text, level[0].span)
        level = [child for node in level for child in node.children()]


def too_deep(text: str | None, span: tuple[int, int] | None) -> ExpressionError:
    """The error for a nesting that goes too deep at ``span``."""
    message = f"the expression nests deeper than {MAX_DEPTH} levels"
    return ExpressionError(message, text=text, span=span if text is not None else None, hint=HINT)
