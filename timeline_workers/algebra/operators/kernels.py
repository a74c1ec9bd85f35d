"""Kernels by the names of their operators (``timeline_workers.language.operator_table``).

Each module of this package registers what it computes: an operator over events, over timelines, or one of
each. A kernel is made for one node of an expression.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from .operands import Constant
from .recompute import EventOperator, TimelineOperator

MakeEvents: TypeAlias = Callable[[Any], EventOperator]
MakeTimeline: TypeAlias = Callable[[Any], TimelineOperator]

EVENT_KERNELS: dict[str, MakeEvents] = {}
TIMELINE_KERNELS: dict[str, MakeTimeline] = {}


def over_events(name: str, make: MakeEvents) -> None:
    """The operator ``name`` over events is what ``make`` makes of a node."""
    EVENT_KERNELS[name] = make


def over_timelines(name: str, make: MakeTimeline) -> None:
    """The operator ``name`` over timelines is what ``make`` makes of a node."""
    TIMELINE_KERNELS[name] = make


def constant(operand: Any) -> Constant | None:
    """The side of a comparison or an arithmetic operation that ``operand`` is; None: an input."""
    return Constant(operand.value) if operand.op == "literal" else None
