"""The shape of the paper's Figure 9: 2 M changes of a player's state in 20,000 sessions, on one core.

The paper compares its timelines with SQL and Spark on rebuffering and play time; here both are asked of
PostgreSQL, PySpark and DuckDB in the SQL of ``contenders/sql.py``.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from . import workloads
from .measure import Contender, Tell, available, compare, one_core
from .peers import PEERS
from .report import Comparison, finish, say, versions

METRICS = ("rebuffering", "play")
# PostgreSQL and Spark have run the query over the whole table before; so have those that run in process.
_GIVEN = {"form": "columns", "cut": 0, "warm": True}
CONTENDERS = (
    Contender(
        "engine", "engine", "every key's whole timeline, from one batch of decoded columns", options=_GIVEN
    ),
    Contender(
        "engine-arrow",
        "engine",
        "evaluate() over an Arrow table with dictionary-coded strings, validation and one question included",
        options=_GIVEN | {"form": "arrow"},
    ),
    Contender("postgres", "postgres", "the query through psql; the table in memory, ENUM columns"),
    Contender("spark", "spark", "the query and collecting its rows; the table cached, JVM warm", "pyspark"),
    Contender(
        "duckdb", "duckdb", "the query and fetching its result; ENUM columns in memory", "duckdb", _GIVEN
    ),
)
NAMES = tuple(c.name for c in CONTENDERS)


def run(
    *,
    events: int,
    sessions: int,
    only: Sequence[str],
    runs: int,
    seed: int,
    tell: Tell,
    json_file: Path | None,
    plot_file: Path | None,
) -> None:
    """Measure both metrics and print them. Raises WrongAnswerError."""
    taking = available([c for c in CONTENDERS if not only or c.name in only], tell)
    comparisons, core = [], one_core()
    for metric in METRICS:
        with tempfile.TemporaryDirectory(prefix="timeline-bench-") as scratch:
            data = workloads.Shares(Path(scratch), metric, events, sessions, seed, lines=False)
            results = compare(data, taking, runs=runs, tell=tell, core=core)
        comparisons.append(
            Comparison(
                f"{metric}, {events:,} state changes of {sessions:,} sessions",
                "engine",
                "events",
                {
                    "expression": workloads.METRICS[metric].expression,
                    "runs": runs,
                    "seed": seed,
                    "bound to core": core,
                },
                results,
            )
        )
        say(comparisons[-1])
    used = (
        versions(["numpy"])
        | {"postgres": _postgres_version()}
        | {c.peer: PEERS[c.peer].version() for c in taking if c.peer}
    )
    finish("figure9", comparisons, used, json_file=json_file, plot_file=plot_file)


def _postgres_version() -> str | None:
    try:
        said = subprocess.run(["psql", "--version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return said.strip().removeprefix("psql ")
