"""Row arithmetic against what it means, said with lists."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings, strategies as st

from timeline_workers.columns import rows
from timeline_workers.columns.values import Int64

INSTANTS = st.integers(0, 12) | st.integers(2**52, 2**52 + 5) | st.integers(-(2**61), 2**61)
KEYED = st.lists(st.lists(INSTANTS, max_size=6).map(sorted), min_size=1, max_size=5)


def column(keys: list[list[int]]) -> tuple[Int64, Int64]:
    """Offsets and times of the sorted times of each key."""
    offsets = np.cumsum([0, *map(len, keys)])
    return offsets, np.array([time for times in keys for time in times], np.int64)


@given(st.lists(KEYED, min_size=2, max_size=3))
def test_merged_columns_are_ordered_by_key_and_time(given_columns: list[list[list[int]]]) -> None:
    """Equal instants come in the order of the columns, and only the last of them is said to be the last."""
    keys = min(map(len, given_columns))
    columns = [column(one[:keys]) for one in given_columns if any(one[:keys])]
    if not columns:
        return
    which, last = rows.merged([offsets for offsets, _ in columns], [times for _, times in columns])
    expected = sorted(
        (key, time, index)
        for index, one in enumerate(one for one in given_columns if any(one[:keys]))
        for key, times in enumerate(one[:keys])
        for time in times
    )
    assert which.tolist() == [index for _, _, index in expected]
    places = [(key, time) for key, time, _ in expected]
    assert last.tolist() == [place not in places[i + 1 :] for i, place in enumerate(places)]


@given(KEYED, st.data())
def test_an_earlier_row_moves_the_others_on(keys: list[list[int]], data: st.DataObject) -> None:
    """A row before those of a key moves the others on."""
    offsets, times = column(keys)
    needed = data.draw(st.lists(st.booleans(), min_size=len(keys), max_size=len(keys)))
    grown, heads, others = rows.led(offsets, np.array(needed))
    made: list[object] = ["nothing"] * int(grown[-1])
    for place, key in zip(heads.tolist(), np.flatnonzero(needed).tolist(), strict=True):
        made[place] = f"head of {key}"
    for place, time in zip(others.tolist(), times.tolist(), strict=True):
        made[place] = time
    assert [made[a:b] for a, b in zip(grown.tolist(), grown[1:].tolist(), strict=False)] == [
        [f"head of {key}"] * lead + list(own)
        for key, (own, lead) in enumerate(zip(keys, needed, strict=True))
    ]


@given(KEYED, st.data())
def test_offsets_of_the_rows_that_stay(keys: list[list[int]], data: st.DataObject) -> None:
    offsets, times = column(keys)
    stay = data.draw(st.lists(st.booleans(), min_size=len(times), max_size=len(times)))
    left = iter(stay)
    lengths = [sum(next(left) for _ in own) for own in keys]
    assert rows.kept_offsets(offsets, np.array(stay, np.bool_)).tolist() == np.cumsum([0, *lengths]).tolist()


@given(st.lists(st.tuples(st.integers(0, 5), INSTANTS)))
def test_the_earliest_row_of_each_key(pairs: list[tuple[int, int]]) -> None:
    """The earliest of each key and the keys that occur."""
    for some in (pairs, sorted(pairs)):
        keys, times = (np.array(part, np.int64) for part in (zip(*some, strict=True) if some else ((), ())))
        least = [min((t for k, t in some if k == key), default=rows.FOREVER) for key in range(6)]
        assert rows.earliest(6, keys, times).tolist() == least
        found, places = rows.distinct(keys)
        assert found.tolist() == sorted({key for key, _ in some})
        assert found[places].tolist() == keys.tolist()


@given(KEYED, st.lists(INSTANTS, min_size=5, max_size=5))
def test_rows_that_have_begun_are_counted(keys: list[list[int]], at: list[int]) -> None:
    """Near the end as well as far from it."""
    offsets, times = column(keys)
    asked = np.array(at[: len(keys)], np.int64)
    found = rows.search(offsets, times, np.arange(len(keys)), asked)
    assert found.tolist() == [sum(t <= a for t in own) for own, a in zip(keys, at, strict=False)]


def test_a_search_looks_everywhere_in_a_run() -> None:
    """In runs long enough for each of its steps."""
    starts = np.arange(0, 80, 2)
    times = np.arange(-1, 81)
    for run in (1, 2, 3, 4, 5, 6, 7, 9, 19, 40):
        offsets = np.append(np.arange(0, 40, run), 40)
        for key in range(len(offsets) - 1):
            own = starts[offsets[key] : offsets[key + 1]]
            found = rows.search(offsets, starts, np.full(len(times), key), times)
            assert found.tolist() == [int((own <= time).sum()) for time in times]


@given(
    st.integers(0, 2**32), st.sampled_from([2**7, 2**12, 2**20, 2**31, 2**40]), st.integers(-(2**62), 2**62)
)
@settings(max_examples=30)
def test_numbers_read_in_no_order(seed: int, span: int, low: int) -> None:
    """Many and few of them, whatever the bytes that hold them."""
    random = np.random.default_rng(seed)
    numbers = low + random.integers(0, span, 40_000)
    numbers[:2] = low, low + span - 1
    for count in (0, 5, 33_000, 100_000):
        taken = random.integers(0, len(numbers), count)
        assert (rows.gathered(numbers, taken) == numbers[taken]).all()


@given(KEYED)
def test_offsets_from_the_keys_of_rows(keys: list[list[int]]) -> None:
    offsets, _ = column(keys)
    of_rows = rows.row_keys(offsets)
    same = of_rows[1:] == of_rows[:-1]
    assert rows.offsets_of_runs(of_rows, same, len(keys)).tolist() == offsets.tolist()
    assert rows.offsets_of(of_rows, len(keys)).tolist() == offsets.tolist()


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 1) | st.integers(0, 3)), max_size=5))
def test_ranges_follow_one_another(pairs: list[tuple[int, int]]) -> None:
    starts, lengths = (np.array([pair[place] for pair in pairs], np.int64) for place in (0, 1))
    expected = [number for start, length in pairs for number in range(start, start + length)]
    assert rows.ranges(starts, lengths).tolist() == expected
