"""Noticing that the connection to the broker was lost, however briefly: what comes then may be another topic.

The client library connects again by itself and tells nobody. A broker whose data are deleted has been stopped
for longer than it is looked whether the connection stands.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic

_EVERY_SECONDS = 0.02


class Connection:
    """Watches one connection until ``close``. ``stands``: whether it stands now, called on a thread;
    ``losses``: how often it did not, after it had.
    """

    def __init__(self, stands: Callable[[], bool]) -> None:
        self._stands = stands
        self._closing, self._lost = threading.Event(), threading.Event()
        self._since: float | None = None
        self.losses = 0
        self._thread = threading.Thread(target=self._watch, name="connection", daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._closing.wait(_EVERY_SECONDS):
            if self._stands_now():
                self._since = None
            else:
                self._lost.set()
                if self._since is None:
                    self._since = monotonic()
                    self.losses += 1

    def _stands_now(self) -> bool:
        try:
            return self._stands()
        except Exception:
            return False  # and the watch goes on

    @property
    def lost_for(self) -> float:
        """For how many seconds it does not stand; 0 when it does."""
        since = self._since
        return 0.0 if since is None else monotonic() - since

    def was_lost(self) -> bool:
        """Whether it stands again after it was lost; True once each time."""
        if not self._lost.is_set() or not self._stands():
            return False
        self._lost.clear()
        return True

    def close(self) -> None:
        """Stop watching."""
        self._closing.set()
        self._thread.join()
