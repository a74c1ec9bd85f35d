"""The choice of a column library: merging two timelines, carrying both values forward, AND, dropping
repeats.

This is the inner step of every operator with two operands. Both timelines have a row at the origin of every
key, so carrying values forward needs no grouping by key: the last row of an instant always has both sides.
Every contender starts and ends with its own library's columns (no conversion is timed), and all must give the
same rows.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .report import Comparison, Result, finish, say, versions

BITS = 40
SPAN = 2**BITS  # more than any time below; a key's rows sort together as key * SPAN + time


class Rows:
    """One Boolean timeline: ``at`` int64[N], key * SPAN + time, ascending; ``flag`` bool[N]."""

    def __init__(self, at: NDArray[np.int64], flag: NDArray[np.bool_]) -> None:
        self.at = at
        self.flag = flag


def generate(points: int, keys: int, seed: int) -> tuple[Rows, Rows]:
    """Two timelines of ``points`` rows, each with a row at time 0 of every key."""
    random = np.random.default_rng(seed)
    keys = min(keys, points)

    def one() -> Rows:
        key = np.concatenate([np.arange(keys), random.integers(0, keys, points - keys)])
        at = key * SPAN + np.concatenate([np.zeros(keys, np.int64), random.integers(1, SPAN, points - keys)])
        return Rows(np.sort(at), random.random(points) < 0.5)

    return one(), one()


def with_numpy(a: Rows, b: Rows) -> Callable[[], tuple[Any, Any]]:
    """Stable argsort of both, then the index of each side's last row by a running maximum."""

    def merge() -> tuple[Any, Any]:
        at = np.concatenate([a.at, b.at])
        order = np.argsort(at, kind="stable")
        at = at[order]
        left = order < len(a.at)
        last_left = np.maximum.accumulate(np.where(left, order, 0))
        last_right = np.maximum.accumulate(np.where(left, 0, order - len(a.at)))
        both = a.flag[last_left] & b.flag[last_right]
        keep = np.append(at[1:] != at[:-1], True)
        at, both = at[keep], both[keep]
        changed = np.append(True, (both[1:] != both[:-1]) | (at[1:] >> BITS != at[:-1] >> BITS))
        return at[changed], both[changed]

    return merge


def _polars(a: Rows, b: Rows, *, merge_sorted: bool) -> Callable[[], tuple[Any, Any]]:
    import polars as pl

    left = pl.DataFrame({"at": a.at, "x": a.flag})
    right = pl.DataFrame({"at": b.at, "y": b.flag})
    left = left.with_columns(pl.lit(None, pl.Boolean).alias("y")).set_sorted("at")
    right = right.select("at", pl.lit(None, pl.Boolean).alias("x"), "y").set_sorted("at")

    def merge() -> tuple[Any, Any]:
        if merge_sorted:
            merged = left.lazy().merge_sorted(right.lazy(), key="at")
        else:
            merged = pl.concat([left.lazy(), right.lazy()]).sort("at", maintain_order=True)
        rows = (
            merged.select("at", pl.col("x").forward_fill(), pl.col("y").forward_fill())
            .filter((pl.col("at") != pl.col("at").shift(-1)).fill_null(True))
            .select("at", (pl.col("x") & pl.col("y")).alias("both"))
            .filter(
                (
                    (pl.col("both") != pl.col("both").shift())
                    | (pl.col("at") // SPAN != pl.col("at").shift() // SPAN)
                ).fill_null(True)
            )
            .collect()
        )
        return rows["at"], rows["both"]

    return merge


def with_polars_sort(a: Rows, b: Rows) -> Callable[[], tuple[Any, Any]]:
    """Concatenate, sort, forward fill, in one lazy query."""
    return _polars(a, b, merge_sorted=False)


def with_polars_merge(a: Rows, b: Rows) -> Callable[[], tuple[Any, Any]]:
    """``merge_sorted`` and forward fill, in one lazy query."""
    return _polars(a, b, merge_sorted=True)


def with_arrow(a: Rows, b: Rows) -> Callable[[], tuple[Any, Any]]:
    """Concatenate, sort, ``fill_null_forward``; a second sort column keeps it stable."""
    import pyarrow as pa
    import pyarrow.compute as pc

    left = pa.table(
        {"at": a.at, "side": np.zeros(len(a.at), np.int8), "x": a.flag, "y": pa.nulls(len(a.at), pa.bool_())}
    )
    right = pa.table(
        {"at": b.at, "side": np.ones(len(b.at), np.int8), "x": pa.nulls(len(b.at), pa.bool_()), "y": b.flag}
    )

    def merge() -> tuple[Any, Any]:
        rows = pa.concat_tables([left, right]).sort_by([("at", "ascending"), ("side", "ascending")])
        at = rows["at"].combine_chunks()
        x = pc.fill_null_forward(rows["x"].combine_chunks())
        y = pc.fill_null_forward(rows["y"].combine_chunks())
        both = pc.and_kleene(x, y)
        last = pa.array([True])
        keep = pa.concat_arrays([pc.not_equal(at[1:], at[:-1]), last])
        at, both = at.filter(keep), both.filter(keep)
        key = pc.shift_right(at, BITS)
        changed = pc.or_(pc.not_equal(both[1:], both[:-1]), pc.not_equal(key[1:], key[:-1]))
        changed = pa.concat_arrays([last, changed])
        return at.filter(changed), both.filter(changed)

    return merge


CONTENDERS: dict[str, Callable[[Rows, Rows], Callable[[], tuple[Any, Any]]]] = {
    "numpy": with_numpy,
    "polars sort": with_polars_sort,
    "polars merge_sorted": with_polars_merge,
    "arrow": with_arrow,
}


def run(*, points: list[int], keys: int, runs: int, seed: int, json_file: Path | None) -> None:
    """Measure every contender at every size, after one untimed run that checks its rows against NumPy's.

    A small size is what one batch changes, a large one a rebuild from the whole history.
    Raises AssertionError when two contenders differ.
    """
    comparisons = []
    for size in points:
        among = min(keys, size // 10 + 1)
        comparison = Comparison(
            f"merge two Boolean timelines of {size:,} change points and AND them",
            "numpy",
            "change points",
            {"keys": among, "runs": runs, "seed": seed},
            _measure(size, among, runs, seed),
        )
        say(comparison)
        comparisons.append(comparison)
    finish("columns", comparisons, versions(["numpy", "polars", "pyarrow"]), json_file=json_file)


def _measure(points: int, keys: int, runs: int, seed: int) -> list[Result]:
    a, b = generate(points, keys, seed)
    prepared = {name: prepare(a, b) for name, prepare in CONTENDERS.items()}
    expected_at, expected_both = prepared["numpy"]()
    for name, merge in prepared.items():
        at, both = merge()
        if not (
            np.array_equal(np.asarray(at), expected_at) and np.array_equal(np.asarray(both), expected_both)
        ):
            raise AssertionError(f"{name} gives other rows than numpy")
    results = {name: Result(name, 2 * points, [], []) for name in prepared}
    # In turns, so that a disturbance of the machine hits all alike.
    for _ in range(runs):
        for name, merge in prepared.items():
            gc.collect()
            start, cpu_start = time.perf_counter(), time.process_time()
            merge()
            results[name].seconds.append(time.perf_counter() - start)
            results[name].cpu_seconds.append(time.process_time() - cpu_start)
    return list(results.values())
