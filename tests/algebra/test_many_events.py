"""Batches large enough for the ways of many rows say what small ones do."""

from __future__ import annotations

import numpy as np
import pytest

from timeline_workers.algebra.event_log import positions_ascend
from timeline_workers.algebra.graph_evaluation import Evaluation
from timeline_workers.algebra.timeline.numbers import compare, constant
from timeline_workers.algebra.timeline.timelines import Timeline
from timeline_workers.columns.event_batch import EventBatch, Positions
from timeline_workers.columns.values import BOOL, FLOAT, INT, STRING, UNKNOWN, Flags, StringTable, Tagged
from timeline_workers.language.canonical import canonical
from timeline_workers.language.parser import parse

EVENTS, KEYS = 40_000, 300
EXPRESSIONS = (
    (
        'duration_where(latest_event_to_state(always) == "b" && has_existed(always == "a")'
        ' && !has_existed_within(seldom == "c", 5s))'
    ),
    'latest_event_to_state(mixed) != "a" || latest_event_to_state(mixed) == 2',
    "latest_event_to_state(number) > 100000 || has_existed(number > 0)",
    'has_existed(number != "no string") && event_count(always == "a") > 3',
)


def batch(random: np.random.Generator, step: int, *, in_file: bool) -> EventBatch:
    """Events of which none has the instant of another of its key. ``in_file``: at the places of one file."""
    strings = StringTable()
    codes = strings.intern_all("abc")
    present = random.random(EVENTS) < 0.2
    tags = random.choice(np.array([UNKNOWN, BOOL, INT, FLOAT, STRING], np.uint8), EVENTS)
    bits = random.integers(0, 2, EVENTS)
    bits = np.where(tags == FLOAT, (bits * 1.5).view(np.int64), np.where(tags == UNKNOWN, 0, bits))
    positions = Positions.in_input(7, EVENTS)
    if not in_file:
        partition = random.integers(0, 2, EVENTS).astype(np.int32)
        positions = Positions(partition, positions.major.copy(), random.permutation(EVENTS))
    return EventBatch(
        [f"key-{number}" for number in range(KEYS)],
        random.integers(0, KEYS, EVENTS).astype(np.int32),
        random.permutation(EVENTS) * step,
        positions,
        {
            "always": Tagged(np.full(EVENTS, STRING, np.uint8), random.choice(codes, EVENTS), strings),
            "seldom": Tagged(
                np.where(present, np.uint8(STRING), np.uint8(0)), np.where(present, codes[2], 0), strings
            ),
            "mixed": Tagged(tags, bits, strings),
            "number": Tagged(
                np.full(EVENTS, INT, np.uint8), random.integers(0, 200_000, EVENTS), StringTable()
            ),
        },
    )


def part(whole: EventBatch, rows: np.ndarray) -> EventBatch:
    return EventBatch(
        whole.keys,
        whole.key[rows],
        whole.time[rows],
        whole.position.take(rows),
        {
            name: Tagged(column.tags[rows], column.bits[rows], column.strings)
            for name, column in whole.columns.items()
        },
    )


def by_key(evaluation: Evaluation, timeline: Timeline) -> dict[object, list[tuple[int, object]]]:
    values = timeline.values
    assert isinstance(values, Flags | Tagged) or (values.num.dtype == np.int64)
    if isinstance(values, Flags):
        said: list[object] = values.data.tolist()
    elif isinstance(values, Tagged):
        said = [values.item(row) for row in range(len(values))]
    else:
        said = list(zip(values.num.tolist(), values.slope.tolist(), strict=True))
    rows = list(zip(timeline.starts.tolist(), said, strict=True))
    ends = zip(evaluation.keys.names, timeline.offsets[:-1], timeline.offsets[1:], strict=True)
    return {name: rows[first:last] for name, first, last in ends}


@pytest.mark.parametrize("text", EXPRESSIONS)
@pytest.mark.parametrize("step", [1, 1_000, 1_000_000])
@pytest.mark.parametrize("in_file", [True, False])
def test_one_large_batch_or_many_small_ones(text: str, step: int, in_file: bool) -> None:
    random = np.random.default_rng(step + in_file)
    whole = batch(random, step, in_file=in_file)
    tree = canonical(parse(text))
    at_once, in_parts = Evaluation(tree), Evaluation(tree)
    at_once.add(whole)
    for rows in np.array_split(np.arange(EVENTS), 10):
        in_parts.add(part(whole, rows))
    assert by_key(at_once, at_once.timeline()) == by_key(in_parts, in_parts.timeline())


def test_places_of_one_file_are_not_read() -> None:
    """But said by the place of the first; others are never taken for such."""
    places = Positions.in_input(7, 5)
    assert places.ascend_by_one()
    assert places.successive(np.array([4, 0, 2])).minor.tolist() == [11, 7, 9]
    assert len(places.successive(np.array([4, 0, 2])).partition) == 3
    assert positions_ascend(places)
    for rows in ([], [1, 0], [0, 2], [0, 0, 2], [0, 2, 1, 3]):
        assert not places.take(np.array(rows, np.int64)).ascend_by_one()
    apart = Positions(np.array([0, 1], np.int32), np.zeros(2, np.int64), np.arange(2))
    assert not apart.ascend_by_one()


@pytest.mark.parametrize("operator", ["==", "!="])
def test_a_text_beside_what_is_none(operator: str) -> None:
    """Values of another type are neither equal to a text nor unequal: the comparison is False."""
    values: list[bool | int | float | str | None] = [None, False, True, 0, 1, 0.0, 1.5, "a", "b"]
    for literal in ("a", "b", "new"):
        column = Tagged.of(values)
        found = compare(operator, column, constant(literal, len(column), StringTable()))  # type: ignore[arg-type]
        equal = operator == "=="
        assert found.tolist() == [isinstance(one, str) and (one == literal) == equal for one in values]
