"""Readings of operators that have no case of their own in the oracles: the ``READING`` of their test files.

``tests/algebra/operators/test_NAME.py`` holds the semantics of the operator ``NAME`` in two readings, as
``oracle.py`` and ``instants.py`` read it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from importlib import import_module
from typing import TYPE_CHECKING, Any

from tests.oracle.numbers import Value
from timeline_workers.language import tree
from timeline_workers.language.operator_table import OPERATORS

if TYPE_CHECKING:
    from tests.oracle.oracle import Pieces


@dataclass(frozen=True)
class Reading:
    """``pieces``: the timeline over those of the operands; ``instants``: the value at each microsecond over
    theirs; ``slopes``: how fast it grows from each on, over values and slopes of the operands; ``nothing``:
    the value with no events over theirs.
    """

    pieces: Callable[[tree.Call, list[Pieces]], Pieces]
    instants: Callable[[tree.Call, list[list[Value]]], list[Value]]
    slopes: Callable[[tree.Call, list[list[Value]], list[list[Fraction]]], list[Fraction]]
    nothing: Callable[[tree.Call, list[Value]], Value]


def reading(node: tree.Call) -> Reading:
    """The reading of the operator that ``node`` calls."""
    found: Any = import_module(f"tests.algebra.operators.test_{node.function}")
    return found.READING  # type: ignore[no-any-return]


def calls() -> list[str]:
    """The operators that have no class in the tree, and so a reading."""
    return [row.name for row in OPERATORS.values() if row.node is tree.Call]
