"""The parts of the capacity model's constants: weights of messages and states, and fits."""

from __future__ import annotations

import subprocess
import sys

import pytest

from benchmarks import processes, pure_costs
from benchmarks.constants import Use
from benchmarks.pure_costs import fit, session_ids, weigh
from timeline_workers.capacity.costs import Bytes

SMALL = {"sessions": 600, "batches": (50, 400), "seed": 3}


@pytest.fixture(scope="module")
def weights() -> dict[bool, Bytes]:
    return {fuse: weigh("stalls", fuse=fuse, **SMALL) for fuse in (False, True)}  # type: ignore[arg-type]


def test_weights_are_the_same_each_time(weights: dict[bool, Bytes]) -> None:
    assert weigh("stalls", fuse=True, **SMALL) == weights[True]  # type: ignore[arg-type]


def test_fused_workers_hold_and_tell_less(weights: dict[bool, Bytes]) -> None:
    separate, fused = weights[False], weights[True]
    assert fused.leaf_per_event == separate.leaf_per_event  # leaves are the same
    assert fused.idle < separate.idle
    assert fused.edge_per_event < separate.edge_per_event
    assert fused.archived < separate.archived


@pytest.mark.parametrize("fuse", [False, True])
def test_a_session_weighs_at_least_its_name(fuse: bool, weights: dict[bool, Bytes]) -> None:
    """A UUID has 122 random bits, which no compression takes away; every worker and archive names it."""
    workers, bits = (4, 122) if fuse else (8, 122)
    found = weights[fuse]
    assert found.idle > workers * bits / 8
    assert found.archived > workers * bits / 8
    assert found.largest_idle > bits / 8
    assert 0 < found.largest_kept <= found.kept
    # Six events in ten have a state; what has nothing for a leaf does not name its session there.
    assert found.leaf_per_event > 0.6 * bits / 8


def test_session_ids_are_distinct_and_seeded() -> None:
    """Session ids are distinct and the same for a seed."""
    assert len(set(session_ids(1_000, 1))) == 1_000
    assert session_ids(5, 1) == session_ids(5, 1) != session_ids(5, 2)


def test_a_fit_finds_the_factors() -> None:
    assert fit([(a, b, 3 * a + 5 * b) for a, b in ((10, 1), (20, 7), (5, 9))]) == pytest.approx((3, 5))


def test_a_fit_has_no_negative_factors() -> None:
    # More of b goes with less: it is taken to cost nothing.
    x, y = fit([(10, 1, 30), (10, 5, 20)])
    assert y == 0
    assert 2 <= x <= 3


def test_packing_takes_time_and_memory() -> None:
    seconds, memory = pure_costs.pack_costs("stalls", seed=1)
    assert seconds > 0
    assert memory > 1


def test_use_is_counted_above_the_idle_use() -> None:
    """What was used is what came on top of what goes on anyway."""
    before = Use(10.0, {"history": 1.0, "feeder": 0.5}, [100.0, 0.0, 0.0])
    after = Use(20.0, {"history": 4.0, "feeder": 2.5, "worker": 1.0}, [200.0, 6.0, 8.0])
    used = after.since(before).without(Use(5.0, {"history": 1.0}, [10.0, 9.0, 0.0]))
    assert used.cpu == {"history": 1.0, "feeder": 2.0, "worker": 1.0}
    assert used.database == [80.0, 0.0, 8.0]
    assert used.server == 1.0


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        ("/env/bin/python -I -S embedded_guard.py 30 python -m timeline_workers worker", "guard"),
        ("/env/bin/python -m timeline_workers worker", "worker"),
        ("/env/bin/python -m feeder --batch 5", "feeder"),
        ("/opt/server --config-file f start --service history", "history"),
        ("postgres: temporal temporal 127.0.0.1(5)", "database"),
        ("vi notes", "other"),
    ],
)
def test_the_kind_of_a_process(command: str, kind: str) -> None:
    assert processes.kind_of(command) == kind


def test_children_are_counted_by_kind() -> None:
    burn = "import sys; sum(range(3_000_000)); sys.stdout.write('done'); sys.stdout.flush(); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", burn, "-m feeder"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stdout.read(4) == b"done"
        assert processes.seconds_by_kind()["feeder"] > 0
