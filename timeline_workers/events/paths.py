"""Dotted paths into events: which fields of an event are read, and reading them fast.

A path ``a.b.c`` names the field ``"a.b.c"`` if the object has one (also when that is null), else the path
``b.c`` in the object under ``"a"``. From the paths a ``Shape`` makes msgspec structs, so that parsing builds
only the fields asked for; everything else in the event is checked for syntax and skipped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from .raw import plain

_Scalar = bool | int | float | str | None | UnsetType


class Shape:
    """The fields of one object that some path goes through. ``struct`` instances hold their values.

    Constructing a struct checks nothing, so values of any type can be put into one by ``of``.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        inner: dict[str, list[str]] = {}
        names: dict[str, None] = {}
        for path in dict.fromkeys(paths):
            names[path] = None
            head, dot, rest = path.partition(".")
            if dot and head and rest:
                names[head] = None
                inner.setdefault(head, []).append(rest)
        self.attributes = {name: f"f{i}" for i, name in enumerate(names)}
        self.inner = {head: Shape(rests) for head, rests in inner.items()}
        fields = []
        for name, attribute in self.attributes.items():
            of: Any = self.inner[name].struct | _Scalar if name in self.inner else _Scalar
            fields.append((attribute, of, UNSET))
        self.struct: type[msgspec.Struct] = msgspec.defstruct(
            "Fields", fields, rename={a: n for n, a in self.attributes.items()}, gc=False, weakref=False
        )

    def of(self, event: Mapping[Any, Any]) -> msgspec.Struct:
        """Return the struct of a parsed event; values are made ``plain`` where they have an exact type."""
        values = []
        for name in self.attributes:
            value = event.get(name, UNSET)
            if name in self.inner and isinstance(value, Mapping):
                value = self.inner[name].of(value)
            values.append(plain(value))
        return self.struct(*values)

    def read(self, path: str, records: Sequence[Any]) -> list[Any]:
        """Return the values at ``path``: UNSET where the event has no such field."""
        exact = list(map(attrgetter(self.attributes[path]), records))
        head, dot, rest = path.partition(".")
        if not dot or head not in self.inner:
            return exact
        shape = self.inner[head]
        empty = shape.struct()
        below = map(attrgetter(self.attributes[head]), records)
        nested = shape.read(rest, [v if type(v) is shape.struct else empty for v in below])
        if set(map(type, exact)) <= {UnsetType}:
            return nested
        return [n if e is UNSET else e for e, n in zip(exact, nested, strict=True)]
