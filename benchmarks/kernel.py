"""The kernel: metrics over generated events in process, on one core, against peers that can compute them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from . import workloads
from .measure import Contender, Tell, available, compare, one_core
from .peers import PEERS
from .report import Comparison, Result, finish, say, versions

FORMS = ("columns", "jsonl")
METRICS = ("cirr", "playtime", "outlier")
CUT = 10_000
_QUERY = "the query and fetching its result"
_LOOP = "the loop over tuples of Python objects"
_COLUMNS: tuple[Contender, ...] = (
    Contender("engine", "engine", "every key's whole timeline, from one batch of decoded columns"),
    Contender("engine-cuts", "engine", f"the same, in batches of {CUT:,}", options={"cut": CUT}),
    Contender(
        "engine-arrow",
        "engine",
        "evaluate() over an Arrow table with dictionary-coded strings, validation and one question included",
        options={"form": "arrow"},
    ),
    Contender("duckdb", "duckdb", f"{_QUERY}; int keys and ENUM columns in memory before", "duckdb"),
    Contender("polars", "polars", f"{_QUERY}; int keys and Enum columns in memory before", "polars"),
    Contender("bytewax", "bytewax", f"the dataflow; {_LOOP} in one batch", "bytewax", most=1_000_000),
    Contender(
        "bytewax-cuts",
        "bytewax",
        f"the same, in batches of {CUT:,}",
        "bytewax",
        options={"cut": CUT},
        most=1_000_000,
    ),
    Contender(
        "reelay",
        "reelay",
        "updating a monitor with signals made before, and summing its verdicts",
        "reelay",
        most=200_000,
    ),
    Contender(
        "rtamt",
        "rtamt",
        "evaluating each key's signals, made before, and summing the verdicts",
        "rtamt",
        most=20_000,
    ),
    Contender("python", "python", _LOOP, most=1_000_000),
)
_JSONL: tuple[Contender, ...] = (
    Contender("engine", "engine", "evaluate() over lines in memory, decoding and one question included"),
    Contender("duckdb", "duckdb", "read_json of the file, the query, fetching its result", "duckdb"),
    Contender("polars", "polars", "scan_ndjson of the file, the query", "polars"),
    Contender(
        "bytewax", "bytewax", "the dataflow, json.loads of each line included", "bytewax", most=1_000_000
    ),
    Contender("python", "python", "the loop, json.loads of each line included", most=1_000_000),
)


def contenders(form: str) -> list[Contender]:
    """The contenders over ``columns`` or ``jsonl``."""
    chosen = _COLUMNS if form == "columns" else _JSONL
    return [
        Contender(c.name, c.module, c.covers, c.peer, {"form": form, "cut": 0, **c.options}, c.most)
        for c in chosen
    ]


NAMES = tuple(dict.fromkeys(c.name for form in FORMS for c in contenders(form)))


def run(
    *,
    metrics: Sequence[str],
    events: Iterable[int],
    keys: Sequence[int],
    forms: Sequence[str],
    only: Sequence[str],
    runs: int,
    seed: int,
    tell: Tell,
    json_file: Path | None,
    plot_file: Path | None,
) -> None:
    """Measure every combination, and print each as soon as it is there. Raises WrongAnswerError."""
    known = {c.name: c for form in FORMS for c in available(_chosen(form, only), tell)}
    comparisons, core = [], one_core()
    for count in events:
        for among in keys:
            for metric in metrics:
                with tempfile.TemporaryDirectory(prefix="timeline-bench-") as scratch:
                    tell(f"{metric}: {count:,} events of {among:,} keys")
                    data = workloads.Shares(Path(scratch), metric, count, among, seed, lines="jsonl" in forms)
                    for form in forms:
                        taking = [c for c in _chosen(form, only) if c.name in known]
                        results = compare(data, taking, runs=runs, tell=tell, core=core)
                        comparisons.append(_comparison(metric, form, count, among, runs, seed, core, results))
                        say(comparisons[-1])
    used = versions(["numpy"]) | {
        name: PEERS[name].version() for name in sorted({c.peer for c in known.values() if c.peer})
    }
    finish("kernel", comparisons, used, json_file=json_file, plot_file=plot_file)


def _chosen(form: str, only: Sequence[str]) -> list[Contender]:
    return [c for c in contenders(form) if not only or c.name in only]


def _comparison(
    metric: str,
    form: str,
    count: int,
    keys: int,
    runs: int,
    seed: int,
    core: int | None,
    results: list[Result],
) -> Comparison:
    given = "decoded columns" if form == "columns" else "JSON lines"
    return Comparison(
        f"{metric}, {count:,} events of {keys:,} keys, from {given}",
        "engine",
        "events",
        {
            "expression": workloads.METRICS[metric].expression,
            "runs": runs,
            "seed": seed,
            "bound to core": core,
            "threads of DuckDB and Polars": 1,
        },
        results,
    )
