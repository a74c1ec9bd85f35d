"""Counts of events accepted, refused and ahead in the last minute."""

from __future__ import annotations

import numpy as np
from hypothesis import given, strategies as st

from feeder.routing.recent_counts import SECONDS, Recent

MESSAGE = st.tuples(st.integers(0, 300), st.sampled_from(["accepted", "ahead", "refused", "neither"]))
BATCHES = st.lists(st.lists(MESSAGE, min_size=1, max_size=6), max_size=8)


@given(BATCHES)
def test_counts_are_those_of_the_last_minute(batches: list[list[tuple[int, str]]]) -> None:
    """Whatever the order of publish times; a message counts if it lay in the minute when it was taken, and
    when publish times go back by a minute it begins there.
    """
    recent, taken = Recent(), list[tuple[int, str]]()
    latest = 0
    for batch in batches:
        published = np.asarray([second * 1_000_000 + 7 for second, _ in batch], np.int64)
        accepted = np.asarray([kind in ("accepted", "ahead") for _, kind in batch], np.bool_)
        bad = np.asarray([kind == "refused" for _, kind in batch], np.bool_)
        ahead = np.asarray([kind == "ahead" for _, kind in batch], np.bool_)
        newest = max(second for second, _ in batch)
        if latest - newest >= SECONDS:
            taken.clear()
            latest = 0
        latest = max(latest, newest)
        taken += [one for one in batch if latest - one[0] < SECONDS]
        within = [kind for second, kind in taken if latest - second < SECONDS]
        refused = within.count("refused")
        good = within.count("accepted") + within.count("ahead")
        assert recent.take(published, accepted, bad, ahead) == (good, refused, within.count("ahead"))
