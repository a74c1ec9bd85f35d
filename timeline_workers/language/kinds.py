"""Kinds of nodes and types of values, and the type variables that ``check`` infers them with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal as Choice

ValueType = Choice["bool", "number", "string"]
ColumnType = Choice["bool", "int", "float", "string"]
"""The declared type of a column; int and float are both numbers."""
KindName = Choice["event", "state", "boolean", "numeric"]


@dataclass(frozen=True, slots=True)
class Kind:
    """What a node is. ``value`` is None only where the type of a State or column is not known.

    ``exact`` is True for Numerics made from durations, which have slope and are held as ``Linear``; the other
    Numerics are held as ``Tagged``. A literal counts as a State that never changes.
    """

    name: KindName
    value: ValueType | None
    exact: bool = False


def type_of(value: bool | int | float | str) -> ValueType:
    """The type of a Python value; an int and a float are both numbers."""
    return "bool" if isinstance(value, bool) else "string" if isinstance(value, str) else "number"


class Variable:
    """A value type that may not be known yet; ``ordered`` when it is compared by size."""

    __slots__ = ("because", "ordered", "parent", "type")

    def __init__(self, type_: ValueType | None = None) -> None:
        self.parent: Variable | None = None
        self.type = type_
        self.ordered = False
        self.because = ""

    def find(self) -> Variable:
        """The variable that stands for all that have been unified with this one."""
        root = self
        while root.parent is not None:
            root = root.parent
        return root
