"""The name that was meant."""

from __future__ import annotations

import pytest

from timeline_workers.language.suggestions import nearest

NAMES = ["duration_where", "duration_in_cur_state", "has_existed", "has_existed_within", "größe", "7"]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("duration_were", "duration_where"),
        ("has_exsted", "has_existed"),
        ("has_existed_withn", "has_existed_within"),
        ("grösse", "größe"),
        ("7", "7"),
        ("xyz", None),
        ("", None),
        ("d" * 100_000, None),
    ],
)
def test_the_most_similar_name_is_meant(written: str, meant: str | None) -> None:
    assert nearest(written, NAMES) == meant


def test_of_equally_similar_names_the_first_is_meant() -> None:
    assert nearest("session-x", ["session-2", "session-1"]) == "session-2"


def test_nothing_is_similar_where_there_are_no_names() -> None:
    assert nearest("cirr", iter(())) is None
