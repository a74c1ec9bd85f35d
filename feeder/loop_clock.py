"""The clock of whatever waits: that of the running event loop.

An event loop is free to say what time it is, so that hours of idleness can be played through in a moment.
"""

from __future__ import annotations

import asyncio
from time import monotonic


def now() -> float:
    """Seconds of a clock that never goes back."""
    try:
        return asyncio.get_running_loop().time()
    except RuntimeError:  # nothing runs that could wait
        return monotonic()
