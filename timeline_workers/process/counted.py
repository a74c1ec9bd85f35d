"""``counted``: a number and what it is of, in the words of messages to people. No I/O."""

from __future__ import annotations


def counted(number: int, one: str, more: str | None = None) -> str:
    """``1 event``, ``0 events``, ``2,500 events``. ``more``: a plural that is not ``one`` with an s."""
    return f"{number:,} {one if number == 1 else more or f'{one}s'}"
