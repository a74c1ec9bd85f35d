"""The constants of the capacity model (``timeline_workers.capacity``), measured.

Bytes come from ``pure_costs`` and are the same everywhere. Processor time and database writes come from our
programs on a cluster of Temporal's four services over PostgreSQL (``deploy.cluster``), fed with batches of
several sizes: so what an event costs can be told from what a message costs. What the idle cluster does is
measured before and taken off, and so is the feeder's start.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client

from deploy.cluster import cluster
from deploy.cluster_postgres import USER
from timeline_workers.capacity.costs import Costs, Engine, Work
from timeline_workers.capacity.shape import Shape
from timeline_workers.plan.physical import Plan, all_workers

from . import stack, workloads
from .contenders.job import names
from .histories import Cost, cost_of
from .measure import Tell
from .processes import seconds_by_kind
from .pure_costs import fit, pack_costs, weigh
from .report import machine, versions

METRIC = "stalls"
SERVER = ("history", "matching", "frontend", "system worker")
IDLE_SECONDS = 5.0
QUERIES = 300
MILLION = 1_000_000
_WRITTEN = "xact_commit, tup_inserted + tup_updated + tup_deleted, pg_current_wal_lsn() - '0/0'"


class Use(msgspec.Struct):
    """What has been used up to an instant: ``at`` seconds, processor seconds by kind of process, and of the
    database transactions, rows and bytes of its log.
    """

    at: float
    cpu: dict[str, float]
    database: list[float]

    def since(self, before: Use) -> Use:
        """What was used after ``before``."""
        return Use(
            self.at - before.at,
            {kind: seconds - before.cpu.get(kind, 0.0) for kind, seconds in self.cpu.items()},
            [now - then for now, then in zip(self.database, before.database, strict=True)],
        )

    def without(self, idle: Use) -> Use:
        """What is left without that which goes on anyway, as in the time of ``idle``."""
        share = self.at / idle.at
        return Use(
            self.at,
            {kind: max(0.0, s - share * idle.cpu.get(kind, 0.0)) for kind, s in self.cpu.items()},
            [max(0.0, n - share * i) for n, i in zip(self.database, idle.database, strict=True)],
        )

    @property
    def server(self) -> float:
        """Processor seconds of Temporal's services."""
        return sum(self.cpu.get(kind, 0.0) for kind in SERVER)


class Run(msgspec.Struct):
    """``events`` events fed in ``batches`` batches, and what that has cost; ``query``: processor seconds of
    a question; ``start_bytes``: of the first event of a history; ``process_bytes``: of a worker process at
    rest.
    """

    events: int
    batches: int
    use: Use
    cost: Cost
    query: float
    round_seconds: float
    start_bytes: float
    process_bytes: float


def measure(
    *, events: int, sessions: int, batches: Sequence[int], seed: int, tell: Tell
) -> tuple[Costs, dict[str, Any]]:
    """The costs, and the runs that they come from. Raises ClusterUnavailableError."""
    engines: dict[bool, Engine] = {}
    kept: dict[str, Any] = {}
    by_engine: list[list[Run]] = []
    for fuse in (False, True):
        runs: list[Run] = []
        for batch in batches:
            planned, one = asyncio.run(_run(fuse, events, sessions, batch, seed))
            tell(f"fuse {fuse}, batches of {batch:,}: {one.batches} in {one.use.at:.1f} s")
            runs.append(one)
        by_engine.append(runs)
        shape = Shape.of(planned)
        weights = weigh(METRIC, fuse=fuse, sessions=20_000, batches=(500, 2_000, 8_000), seed=seed)
        engines[fuse] = Engine(
            nodes=shape.nodes,
            leaves=shape.leaves,
            workers=len(shape.workers),
            edges=shape.edges,
            bytes=weights,
            work=_work(runs, shape),
        )
        kept["fused" if fuse else "separate"] = msgspec.to_builtins(runs)
    pack, memory = pack_costs(METRIC, seed)
    costs = Costs(
        machine=machine(),
        versions=versions(["temporalio", "pulsar-client", "pulsar-lite", "numpy", "msgspec", "zstandard"]),
        expression=workloads.METRICS[METRIC].expression,
        separate=engines[False],
        fused=engines[True],
        round_seconds=min(run.round_seconds for runs in by_engine for run in runs),
        pack_us_per_byte=pack * MILLION,
        memory_per_byte=memory,
        history_per_event=float(np.mean([_history(runs) for runs in by_engine])),
        history_per_run=float(np.mean([run.start_bytes for runs in by_engine for run in runs])),
        process_bytes=float(np.mean([run.process_bytes for runs in by_engine for run in runs])),
    )
    return costs, kept


def _work(runs: Sequence[Run], shape: Shape) -> Work:
    def pair(used: Sequence[float], by: Sequence[float]) -> tuple[float, float]:
        return fit([(r.events, n, s * MILLION) for r, n, s in zip(runs, by, used, strict=True)])

    signals = [run.batches * shape.leaves for run in runs]
    tasks = [run.cost.workflow_tasks for run in runs]
    cpu = [run.use.cpu for run in runs]
    feeder_event, feeder_signal = pair([c["feeder"] for c in cpu], signals)
    worker_event, worker_task = pair([c["worker"] for c in cpu], tasks)

    def per_task(values: Sequence[float]) -> float:
        return sum(values) / sum(tasks)

    return Work(
        feeder_per_event=feeder_event,
        feeder_per_signal=feeder_signal,
        worker_per_event=worker_event,
        worker_per_task=worker_task,
        server_per_task=per_task([run.use.server * MILLION for run in runs]),
        database_per_task=per_task([c["database"] * MILLION for c in cpu]),
        query=float(np.mean([run.query for run in runs])) * MILLION,
        transactions_per_task=per_task([run.use.database[0] for run in runs]),
        rows_per_task=per_task([run.use.database[1] for run in runs]),
        log_per_byte=sum(r.use.database[2] for r in runs) / sum(r.cost.bytes for r in runs),
    )


async def _run(fuse: bool, events: int, sessions: int, batch: int, seed: int) -> tuple[Plan, Run]:
    metric = workloads.METRICS[METRIC]
    data = workloads.generate(metric, sessions + events, sessions, seed)
    known = names(sessions)
    with tempfile.TemporaryDirectory(prefix="timeline-capacity-") as scratch:
        Path(scratch).chmod(0o755)  # PostgreSQL may run under another account
        with cluster(Path(scratch)) as running:
            system = stack.Stack(temporal=running.address)
            try:
                processes = system.start_workers()
                client = await system.client()
                planned = await stack.apply_metric(
                    client, stack.metric("bench", metric.expression, data.columns, fuse=fuse)
                )
                workers = [spec.worker_id for spec in all_workers(planned)]
                resident = _resident(processes)
                feeder = system.start_feeder("--batch", str(batch))
                while b'"feeding"' not in (system.home / "programs.log").read_bytes():
                    await asyncio.sleep(stack.POLL_SECONDS)
                beginning = seconds_by_kind()["feeder"]

                async def put(rows: slice) -> stack.Place:
                    lines = zip((known[k] for k in data.key[rows].tolist()), data.lines(rows), strict=True)
                    return stack.place_of(await asyncio.to_thread(system.publish, lines))

                # Every session is there before, as at any time but the first minutes.
                await stack.until(client, planned, await put(slice(0, sessions)))
                feeder.terminate()
                feeder.wait()
                place = await put(slice(sessions, sessions + events))
                before = await cost_of(client, workers)
                leaves = [spec.worker_id for spec in all_workers(planned) if spec.node.is_leaf]
                leaf_before = await cost_of(client, leaves)
                start = _use(scratch)
                await asyncio.sleep(IDLE_SECONDS)
                idle = _use(scratch).since(start)
                start = _use(scratch)
                system.start_feeder("--batch", str(batch))
                await stack.until(client, planned, place)
                used = _use(scratch).since(start).without(idle)
                used.cpu["feeder"] -= beginning
                cost = (await cost_of(client, workers)).minus(before)
                fed = (await cost_of(client, leaves)).minus(leaf_before)
                count = round(fed.by_kind["signals"] / len(leaves))
                asked = await _queries(scratch, client, planned, known, data.horizon, idle)
                quick, first = await _looked(client, leaves)
                return planned, Run(events, count, used, cost, asked, quick, first, resident)
            finally:
                system.close()


async def _queries(
    scratch: str, client: Client, planned: Plan, known: Sequence[str], at: int, idle: Use
) -> float:
    """Processor seconds of workers and server for one question about one key."""
    (result,) = stack.result_workers(planned)
    before = _use(scratch)
    for key in known[:QUERIES]:
        question = {"key": key, "at": at, "unit": "us"}
        await client.get_workflow_handle(result).query("value_at", question)
    used = _use(scratch).since(before).without(idle)
    return (used.cpu["worker"] + used.server + used.cpu["database"]) / QUERIES


async def _looked(client: Client, workers: Sequence[str]) -> tuple[float, float]:
    """Seconds from a workflow task's being scheduled to its end, of the quickest tenth; and the bytes of the
    first event of a history.
    """
    seconds: list[float] = []
    first: list[int] = []
    for worker in workers:
        scheduled = 0.0
        async for event in client.get_workflow_handle(worker).fetch_history_events():
            at = event.event_time.ToNanoseconds() / 1e9
            if event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED:
                first.append(event.ByteSize())
            elif event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED:
                scheduled = at
            elif event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED:
                seconds.append(at - scheduled)
    return float(np.quantile(seconds, 0.1)), float(np.mean(first))


def _history(runs: Sequence[Run]) -> float:
    """Bytes of an event of a history beside its payload."""
    return fit([(run.events, run.cost.events, run.cost.bytes) for run in runs])[1]


def _resident(processes: Sequence[subprocess.Popen[bytes]]) -> float:
    programs = [pid for process in processes for pid in stack.children(process.pid)]
    pages = [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in programs]
    return sum(pages) / len(pages) * os.sysconf("SC_PAGE_SIZE")


def _use(cluster_home: str) -> Use:
    return Use(time.perf_counter(), dict(seconds_by_kind()), _written(Path(cluster_home)))


def _written(home: Path) -> list[float]:
    port = json.loads((home / "ports.json").read_text())["postgres"]
    command = ["psql", "-X", "-A", "-t", "-F", " ", "-h", "127.0.0.1", "-p", str(port), "-U", USER]
    query = f"SELECT {_WRITTEN} FROM pg_stat_database WHERE datname = 'temporal'"
    password = (home / "postgres" / "password").read_text()
    done = subprocess.run(
        [*command, "-d", "temporal", "-c", query],
        env={**os.environ, "PGPASSWORD": password},
        capture_output=True,
        check=True,
        text=True,
    )
    return [float(number) for number in done.stdout.split()]


def run(
    *,
    events: int,
    sessions: int,
    batches: Sequence[int],
    seed: int,
    tell: Tell,
    json_file: Path | None,
    runs_file: Path | None,
) -> None:
    """Measure, and print or write. Raises ClusterUnavailableError."""
    costs, kept = measure(events=events, sessions=sessions, batches=batches, seed=seed, tell=tell)
    written = msgspec.json.format(msgspec.json.encode(costs), indent=1) + b"\n"
    if runs_file is not None:
        runs_file.write_bytes(msgspec.json.format(msgspec.json.encode(kept), indent=1) + b"\n")
    if json_file is None:
        print(written.decode(), end="")
    else:
        json_file.write_bytes(written)
        tell(f"written to {json_file}")
