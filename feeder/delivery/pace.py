"""The pace of batches: one after the other at once while little comes, fewer and larger ones when much does.

A batch costs Temporal and the workers much the same whether it holds one event or a thousand. How long
Temporal takes to accept one tells how busy they are, so the next is left that many times as long to gather;
one that is full does not wait. No I/O, and no clock: times are given, in seconds.
"""

from __future__ import annotations

# Of what a batch sets off, the leaves' signals are about an eighth.
TIMES = 8.0
_WEIGHT = 0.5


class Pace:
    """When the next batch is due. ``longest``: what Temporal takes never makes it wait for longer;
    ``shortest``: it waits for so long in any case, unless the one before was full. Both in seconds.
    """

    def __init__(self, longest: float, shortest: float = 0.0) -> None:
        self._longest, self._shortest = longest, shortest
        self._usual: float | None = None
        self._due = float("-inf")

    def delivered(self, began: float, ended: float, *, full: bool) -> None:
        """Note that a batch was delivered between these times. After a ``full`` one the next is due at once:
        there is more to come than waiting could gather.
        """
        if full:
            self._due = began
            return
        took = max(0.0, ended - began)
        self._usual = took if self._usual is None else self._usual + _WEIGHT * (took - self._usual)
        self._due = began + max(min(TIMES * self._usual, self._longest), self._shortest)

    def left(self, now: float) -> float:
        """For how long the next batch is still to gather; 0 when it is due."""
        return max(0.0, self._due - now)
