"""Numbers in messages, with their nouns."""

from __future__ import annotations

import pytest

from timeline_workers.process.counted import counted


@pytest.mark.parametrize(
    ("number", "words", "said"),
    [
        (0, ("event",), "0 events"),
        (1, ("event",), "1 event"),
        (2_500, ("event",), "2,500 events"),
        (1, ("row was", "rows were"), "1 row was"),
        (12, ("row was", "rows were"), "12 rows were"),
    ],
)
def test_a_number_has_its_noun(number: int, words: tuple[str, ...], said: str) -> None:
    assert counted(number, *words) == said
