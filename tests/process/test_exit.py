"""Long-running processes."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from timeline_workers.process.exit import COLLECT_EVERY, collect_seldom


@pytest.fixture
def collector() -> Iterator[None]:
    """The collector's settings, put back afterwards."""
    threshold = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*threshold)


@pytest.mark.usefixtures("collector")
def test_cycles_are_still_collected_only_seldom() -> None:
    """The collector stays on: what start-up left is passed over, and garbage in cycles goes in the end."""
    collect_seldom()
    assert gc.isenabled()
    assert gc.get_threshold()[0] == COLLECT_EVERY
    assert gc.get_freeze_count() > 0
