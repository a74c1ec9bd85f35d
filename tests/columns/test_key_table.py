"""Key tables number keys as a dict would, whichever of their indexes is asked."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st

from timeline_workers.columns import key_table
from timeline_workers.columns.key_table import Key, KeyTable

KEYS: st.SearchStrategy[Key] = st.one_of(
    st.integers(-3, 3),
    st.integers(0, 40).map(str),
    st.text("ab\0é", max_size=4),
    st.tuples(st.integers(0, 9), st.sampled_from([1, 7, 8, 9, 16, 17, 63, 64, 65, 200])).map(
        lambda drawn: str(drawn[0]) * drawn[1]
    ),
)
LISTS = st.lists(st.lists(KEYS, max_size=12), max_size=6)


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every list is long enough for the quick index."""
    monkeypatch.setattr(key_table, "FEW", 0)


def model(lists: list[list[Key]]) -> dict[Key, int]:
    found: dict[Key, int] = {}
    for key in (key for keys in lists for key in keys):
        found.setdefault(key, len(found))
    return found


def check(table: KeyTable, lists: list[list[Key]]) -> None:
    wanted = model(lists)
    assert table.names == list(wanted)
    assert table.index == wanted
    for keys in [*lists, list(wanted), ["none of them", "é?", 77]]:
        assert table.find_all(keys).tolist() == [wanted.get(key, -1) for key in keys]


@given(LISTS)
def test_all_at_once_and_one_by_one_number_alike(lists: list[list[Key]]) -> None:
    table, single = KeyTable(), KeyTable()
    for keys in lists:
        numbers = table.intern_all(keys)
        assert numbers.tolist() == [single.intern(key) for key in keys]
        assert numbers.dtype == np.int64
    check(table, lists)
    check(single, lists)
    check(KeyTable(list(model(lists))), lists)


@given(LISTS, st.sets(st.integers(0, 40)))
def test_a_renumbered_table_knows_those_that_stay(lists: list[list[Key]], kept: set[int]) -> None:
    table = KeyTable()
    for keys in lists:
        table.intern_all(keys)
    keep = sorted(number for number in kept if number < len(table))
    stay = [table.names[number] for number in keep]
    check(table.renumbered(np.array(keep, np.int64)), [stay])


def test_many_keys_of_growing_length() -> None:
    table = KeyTable()
    lists: list[list[Key]] = [[f"{'x' * width}{i}" for i in range(3_000)] for width in (0, 5, 13, 40)]
    for keys in lists:
        table.intern_all(keys)
    check(table, lists)


def test_keys_that_all_meet_are_found_by_the_dict(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if somebody had made keys to meet in the table."""
    monkeypatch.setattr(key_table, "_MIX", np.uint64(0))
    table = KeyTable()
    keys: list[Key] = [f"k{i}" for i in range(200)]
    assert table.intern_all(keys).tolist() == list(range(200))
    check(table, [keys])


def test_numbers_and_their_texts_are_different_keys() -> None:
    """Numbers and the strings that write them are different keys."""
    table = KeyTable()
    assert table.intern_all([1, "1", 2, "1", 1]).tolist() == [0, 1, 2, 1, 0]
