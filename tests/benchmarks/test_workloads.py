"""Generated events."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.workloads import METRICS, generate


@pytest.mark.parametrize(("events", "keys"), [(20_000, 20), (5_000, 5_000), (1, 1)])
def test_events_of_a_key_are_a_millisecond_apart(events: int, keys: int) -> None:
    """A peer whose time is no finer than that sees every key's events in their order."""
    data = generate(METRICS["stalls"], events, keys, seed=3)
    assert len(np.unique(np.stack((data.key, data.time // 1000)), axis=1).T) == events
    assert len(np.unique(data.key)) == keys
    assert (np.diff(data.time) > 0).all()


def test_few_keys_may_have_many_events() -> None:
    """One key cannot have more events than there are milliseconds, each in its own."""
    data = generate(METRICS["playtime"], 700_000, 1, seed=3)
    assert (np.diff(data.time) > 0).all()
