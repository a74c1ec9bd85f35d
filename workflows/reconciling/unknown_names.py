"""The error about a reconciler that is not registered."""

from __future__ import annotations

from collections.abc import Iterable

from timeline_workers.errors import Code, UnknownNameError
from timeline_workers.language.suggestions import nearest


def unknown_reconciler(name: str, known: Iterable[str]) -> UnknownNameError:
    """The error about a reconciler that is not registered."""
    names = sorted(known)
    near = nearest(name, names)
    if near:
        said = f"there is no reconciler {name!r}; did you mean {near!r}?"
    else:
        listed = ", ".join(names) or "none; `timeline worker --import MODULE` registers those of a module"
        said = f"there is no reconciler {name!r}; registered: {listed}"
    return UnknownNameError(said, code=Code.UNKNOWN_RECONCILER)
