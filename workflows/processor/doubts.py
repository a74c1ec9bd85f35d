"""Saying in an answer that it may be wrong or old: its field ``health``."""

from __future__ import annotations

from typing import Any


def in_doubt(answer: Any, state: str, cause: str) -> Any:
    """``answer``, or each of a list of answers, with these as its ``health``, and not final."""
    if isinstance(answer, list):
        return [in_doubt(one, state, cause) for one in answer]
    final = {"final": False} if "final" in answer else {}
    return {**answer, **final, "health": {"state": state, "cause": cause}}
