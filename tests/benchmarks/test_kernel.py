"""Our own contenders answer as `evaluate` does, and that as the oracle. Nothing here is timed."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from benchmarks import kernel, measure, workloads
from tests.oracle.events import Event
from tests.oracle.oracle import timelines, value_of
from timeline_workers.language.parser import parse

SEED = 3


OURS = [
    (c.name, form, metric)
    for form in kernel.FORMS
    for c in kernel.contenders(form)
    for metric in kernel.METRICS
    if c.peer is None
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Data of each metric."""
    found = {}
    for metric in kernel.METRICS:
        found[metric] = tmp_path_factory.mktemp(metric)
        workloads.generate(workloads.METRICS[metric], 3_000, 40, SEED).write(found[metric], lines=True)
    return found


@pytest.mark.parametrize(("name", "form", "metric"), OURS)
def test_a_contender_answers_as_evaluate_does(
    name: str, form: str, metric: str, folders: dict[str, Path]
) -> None:
    (contender,) = (c for c in kernel.contenders(form) if c.name == name)
    folder = folders[metric]
    _, answers = measure.run(contender, folder, 2_000, None, {})
    measure.check(name, answers, workloads.expected(folder, 2_000))


@pytest.mark.parametrize("metric", sorted(workloads.METRICS))
def test_what_contenders_are_held_against_is_the_oracles_answer(metric: str, tmp_path: Path) -> None:
    data = workloads.generate(workloads.METRICS[metric], 300, 5, SEED)
    data.write(tmp_path, lines=False)
    answers = workloads.expected(tmp_path, 300)
    said = {name: (column.data.tolist(), column.values) for name, column in data.columns.items()}

    def columns(row: int) -> dict[str, bool | int | float | str | None]:
        return {
            name: values[codes[row]] if values else codes[row]
            for name, (codes, values) in said.items()
            if not values or codes[row] >= 0
        }

    rows = zip(data.key.tolist(), data.time.tolist(), strict=True)
    events = [Event(key, time, (0, 0, row), columns(row)) for row, (key, time) in enumerate(rows)]
    found = timelines(parse(data.metric.expression), events)
    assert {key: value_of(found[key], data.horizon) for key in range(5)} == {
        key: Fraction(int(answers[key]), workloads.SECOND) for key in range(5)
    }


def test_a_wrong_answer_ends_the_benchmark() -> None:
    right = np.array([1, 2, 3])
    with pytest.raises(measure.WrongAnswerError, match="peer is wrong about 1 of 3 keys; of key 1 it says 9"):
        measure.check("peer", np.array([1, 9, 3]), right)
