"""Every peer answers as `evaluate` does. Nothing here is timed.

Peers take minutes and are not on every machine, so they run only when TIMELINE_TEST_PEERS names them: `all`,
or some, such as `duckdb,postgres`. One that is named and is not installed fails.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmarks import durable, figure9, kernel, measure, workloads
from benchmarks.peers import PEERS

VARIABLE = "TIMELINE_TEST_PEERS"
POSTGRES = "postgres"
KNOWN = (*PEERS, POSTGRES)
ASKED = [name for name in os.environ.get(VARIABLE, "").split(",") if name]
WANTED = set(KNOWN) if ASKED == ["all"] else set(ASKED)

if not WANTED:
    pytest.skip(
        f"{VARIABLE}=all runs the benchmarks' peers, or some: {','.join(KNOWN)}", allow_module_level=True
    )


def peer_of(contender: measure.Contender) -> str | None:
    """What the contender needs beside this project."""
    return POSTGRES if contender.module == POSTGRES else contender.peer


CASES = [
    (contender, metric)
    for contenders, metrics in (
        *((kernel.contenders(form), kernel.METRICS) for form in kernel.FORMS),
        (figure9.CONTENDERS, figure9.METRICS),
        (durable.CONTENDERS, (durable.METRIC,)),
    )
    for contender in contenders
    for metric in metrics
    if peer_of(contender) in WANTED
]


def test_what_is_asked_for_is_known() -> None:
    assert set(KNOWN) >= WANTED


@pytest.mark.parametrize(
    ("contender", "metric"),
    CASES,
    ids=[f"{c.name}-{c.options.get('form', 'table')}-{metric}" for c, metric in CASES],
)
def test_a_peer_answers_as_evaluate_does(contender: measure.Contender, metric: str, tmp_path: Path) -> None:
    if contender.peer is not None and not PEERS[contender.peer].installed:
        pytest.fail(f"{contender.peer} is not installed: python -m benchmarks peers {contender.peer}")
    workloads.generate(workloads.METRICS[metric], 400, 20, seed=3).write(tmp_path, lines=True)
    _, answers = measure.run(contender, tmp_path, 300, None, {})
    measure.check(contender.name, answers, workloads.expected(tmp_path, 300))
