"""News are cut into batches of a size that Temporal takes, and say the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from timeline_workers.algebra.timeline.timelines import Timeline
from timeline_workers.columns.values import Tagged
from timeline_workers.errors import StateError
from timeline_workers.wire.changelog_messages import ToPublish, Writer, messages
from timeline_workers.wire.edge_messages import BEGINNING
from timeline_workers.wire.news import News, pack_news, parts, unpack_news
from workflows.outputs.batches import Batch, Gathering, pack_batch, unpack_batch

WRITER = Writer("m", "p0", 1, "us", False)
FIRST = 1_000


@st.composite
def news(draw: st.DrawFn) -> News:
    """Keys with long and short names, of which some are taken back, and a watermark or none."""
    names = draw(st.lists(st.one_of(st.integers(0, 9), st.text(max_size=60)), max_size=12, unique_by=repr))
    counts = [draw(st.integers(0, 4)) for _ in names]
    froms = np.array([draw(st.sampled_from([BEGINNING, 0, 5])) for _ in names], np.int64)
    rows: list[int] = []
    values: list[Any] = []
    for count, since in zip(counts, froms.tolist(), strict=True):
        begin = max(since, 0) + draw(st.integers(0, 1))
        rows += [begin + 3 * place for place in range(count)]
        values += [draw(st.sampled_from(["a", "b" * 40, None, 7])) for _ in range(count)]
    offsets = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]).astype(np.int64)
    suffix = Timeline(offsets, np.array(rows, np.int64), Tagged.of(values))
    mark = draw(st.sampled_from([None, 4, 9]))
    return News(names, froms, suffix, mark, mark is not None and draw(st.booleans()))


def told(some: list[News], first: int) -> list[ToPublish]:
    found: list[ToPublish] = []
    for one in some:
        found += messages(one, WRITER, first + len(found))
    return found


@given(news(), st.integers(1, 400))
def test_parts_say_what_the_whole_says(whole: News, limit: int) -> None:
    """The same messages with the same revisions; no part is larger but for a single key."""
    cut = [unpack_news(pack_news(part)) for part in parts(whole, limit)]
    assert told(cut, FIRST) == told([whole], FIRST)
    assert sum(part.count() for part in cut) == whole.count()
    assert all(len(part.keys) <= 1 or len(pack_news(part)) <= limit for part in cut)


@settings(max_examples=settings().max_examples // 2)
@given(st.lists(news(), max_size=5), st.integers(200, 2_000))
def test_batches_have_all_news_in_order(some: list[News], limit: int) -> None:
    """Their revisions follow each other, and none has more bytes than are wanted, where it can be helped."""
    gathering = Gathering(FIRST, limit)
    for one in some:
        gathering.add(one)
    made = [unpack_batch(pack_batch(batch)) for batch in gathering.batches()]
    found: list[ToPublish] = []
    for batch in made:
        assert batch.first == FIRST + len(found)
        found += told([unpack_news(one) for one in batch.news], batch.first)
        assert batch.first + batch.count == FIRST + len(found)
        assert len(batch.news) == 1 or sum(map(len, batch.news)) <= limit
    assert found == told(some, FIRST)
    assert gathering.revision == FIRST + len(found)


def test_many_long_names_do_not_make_one_large_batch() -> None:
    """An edge that begins anew takes every key back at once: here ten megabytes of names."""
    generator = np.random.default_rng(7)
    names: list[Any] = [generator.bytes(100).hex() for _ in range(50_000)]
    nothing = Timeline(np.zeros(len(names) + 1, np.int64), np.zeros(0, np.int64), Tagged.of([]))
    gathering = Gathering(FIRST)
    gathering.add(News(names, np.full(len(names), BEGINNING, np.int64), nothing, 5, True))
    made = gathering.batches()
    assert len(made) > 5
    assert max(len(pack_batch(batch)) for batch in made) < 600_000
    assert sum(batch.count for batch in made) == len(names) + 1


def test_other_bytes_are_no_batch() -> None:
    with pytest.raises(StateError, match="no batch of an output"):
        unpack_batch(b"nonsense")
    assert unpack_batch(pack_batch(Batch(1, 2, [b"x"]))) == Batch(1, 2, [b"x"])
