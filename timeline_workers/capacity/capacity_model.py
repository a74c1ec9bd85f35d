"""The capacity model, in closed form: from rates and measured costs to processes, cores and money.

How it counts, for one topic:

* A feeder's batch of B events goes to every leaf in every partition in which one of its keys is: so a leaf
  is signalled R / B times a second, whatever the number of partitions and feeders.
* A worker takes what waits in one workflow task and tells each subscriber once for it. One with several
  inputs hears several messages for one batch. It begins no more tasks than it can end, so that messages are
  taken together when they come faster.
* A feeder waits for its batch to fill, for a time (`--gather-ms`), or is so far behind that it need not.
* A run ends when Temporal suggests it, or, where the state is large, when it has done three times as much
  work; the state then passes through the history twice.

With several ``topics`` each has its share of the sessions in workers of its own, and its own feeders.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from statistics import NormalDist
from typing import NamedTuple

from timeline_workers.plan.physical import MAX_WORKERS, Plan

from . import limits
from .costs import Costs, Engine, measured
from .shape import Shape
from .terms import CLOUD, WAIT_SECONDS, Layout, Limit, Load, Need
from .traffic import Run, Traffic, run_of, traffic

WORKERS = "workers of a metric"
STATE = "the largest state"
WORKER = "the busiest worker"
FEEDER_CPU = "a feeder's processor"
FEEDER_SIGNALS = "a feeder's signals"
BUFFERED = "signals that wait for one workflow task"
SIGNALLED = "signals to one worker"
_BY_PARTITIONS = (STATE, WORKER)
_BY_FEEDERS = (FEEDER_CPU, FEEDER_SIGNALS)

# How much of a limit a plan may use, for peaks and for the partition that has most.
BUSY = 0.5
PULSAR_PARTITIONS_PER_FEEDER = 4
MOST_TOPICS = 256
REPLICAS = 3  # of the database's disks


def fullest(balls: float, bins: int, spread: float = 0.0) -> float:
    """The load to expect of the fullest of ``bins`` against the mean, when ``balls`` fall at random.

    ``spread``: the balls' own, as in ``Load``. Loads are taken to be normal, which they are where many balls
    fall into each, and the expected greatest of them is Blom's approximation.
    """
    if bins <= 1:
        return 1.0
    deviation = math.sqrt((1 + spread**2) * bins / balls)
    return 1.0 + deviation * NormalDist().inv_cdf((bins - 0.375) / (bins + 0.25))


def need(plan: Plan, load: Load, layout: Layout, costs: Costs | None = None) -> Need:
    """What ``load`` needs with ``plan``'s graph when it is laid out so."""
    return _Model(plan, load, layout, costs or measured()).need()


def choose(
    plan: Plan,
    load: Load,
    *,
    partitions: int | None = None,
    feeders: int | None = None,
    topics: int | None = None,
    batch: int = limits.BATCH,
    wait: float = WAIT_SECONDS,
    costs: Costs | None = None,
) -> Layout:
    """The smallest layout in which states, single workers and feeders use no more than half of what they may,
    or as near to that as their number may come; what is given is kept.

    Without ``topics``, the fewest with which it fits well, by doubling, at most ``MOST_TOPICS``.
    """
    counts = [topics] if topics is not None else [2**n for n in range(MOST_TOPICS.bit_length())]
    for count in counts:
        layout = _choose(
            plan, load, Layout(partitions or 1, feeders or 1, batch, count, wait), partitions, feeders, costs
        )
        if need(plan, load, layout, costs).fits_well:
            break
    return layout


def _choose(
    plan: Plan, load: Load, layout: Layout, partitions: int | None, feeders: int | None, costs: Costs | None
) -> Layout:
    most = max(1, MAX_WORKERS // len(Shape.of(_divided(plan, 1)).workers))
    most_feeders = limits.BUFFERED_SIGNALS // limits.OUTSTANDING
    layouts = [replace(layout, partitions=n) for n in _sizes(most)] if partitions is None else [layout]
    layout = _first(plan, load, layouts, _BY_PARTITIONS, costs)
    if feeders is None:
        layouts = [replace(layout, feeders=n) for n in range(1, most_feeders + 1)]
        layout = _first(plan, load, layouts, _BY_FEEDERS, costs)
    return layout


def _first(
    plan: Plan, load: Load, layouts: Sequence[Layout], names: Collection[str], costs: Costs | None
) -> Layout:
    """The first in which no limit of ``names`` is more than half used, or the last."""
    for layout in layouts:
        found = need(plan, load, layout, costs)
        if all(limit.use <= BUSY for limit in found.limits if limit.name in names):
            break
    return layout


def _sizes(most: int) -> list[int]:
    powers = [2**n for n in range(most.bit_length()) if 2**n <= most]
    return powers if powers[-1] == most else [*powers, most]


def _divided(plan: Plan, partitions: int) -> Plan:
    source = plan.metric.source.model_copy(update={"partitions": partitions})
    return plan.model_copy(update={"metric": plan.metric.model_copy(update={"source": source})})


class _Cores(NamedTuple):
    """Processors that are kept busy, by whom."""

    feeder: float
    worker: float
    server: float
    database: float


class _Model:
    """The steps of ``need``."""

    def __init__(self, plan: Plan, load: Load, layout: Layout, costs: Costs) -> None:
        self.metric = plan.metric
        self.load, self.layout, self.costs = load, layout, costs
        self.shape = Shape.of(_divided(plan, layout.partitions))
        self.engine: Engine = costs.fused if plan.metric.fuse else costs.separate
        # What was measured on the reference graph is taken to grow with the nodes, or with leaves and edges.
        self.nodes = self.shape.nodes / self.engine.nodes
        self.leaves = self.shape.leaves / self.engine.leaves

    def held(self) -> tuple[float, float]:
        """Sessions and events that the workers hold: those of a session that has ended for ``key_ttl``, or a
        day without one; and as far back as lateness and retention reach, or a session lasts.
        """
        load, metric = self.load, self.metric
        stays = limits.SECONDS_A_DAY if metric.key_ttl is None else metric.key_ttl / 1e6
        back = load.session_seconds if metric.retention is None else metric.retention / 1e6
        window = metric.source.allowed_lateness / 1e6 + min(back, load.session_seconds + stays)
        return load.sessions * (1 + stays / load.session_seconds), load.events * window

    def need(self) -> Need:
        load, layout, costs, shape = self.load, self.layout, self.costs, self.shape
        bytes_, work = self.engine.bytes, self.engine.work
        topics, partitions = layout.topics, layout.partitions
        batch = layout.events_in_batch(load.events)
        sessions, kept = self.held()
        flow = traffic(
            shape,
            self.engine,
            costs,
            events=load.events / topics,
            partitions=partitions,
            batch=batch,
            sessions=sessions / topics,
            kept=kept / topics,
        )
        all_partitions = topics * partitions
        runs = [run_of(one, costs) for one in flow.flows]
        tasks = all_partitions * sum(one.tasks for one in flow.flows)
        told = all_partitions * sum(one.told for one in flow.flows)
        signals = all_partitions * shape.leaves * flow.leaf_rate
        runs_rate = all_partitions * sum(1 / run.seconds for run in runs)
        history_events = all_partitions * sum(run.events / run.seconds for run in runs)
        history_bytes = all_partitions * sum(run.bytes / run.seconds for run in runs)
        telling = all_partitions * sum(one.tasks for one in flow.flows if one.told)
        state = [one.state for one in flow.flows]
        packed = all_partitions * sum(
            one.state / run.seconds for one, run in zip(flow.flows, runs, strict=True)
        )
        left, archived = 0.0, 0.0  # a day
        if self.metric.key_ttl is not None:
            new_sessions = load.sessions / load.session_seconds * limits.SECONDS_A_DAY
            left = new_sessions * len(shape.workers)
            archived = left * bytes_.archived / self.engine.workers
        skew = fullest(load.sessions, all_partitions, load.spread)
        transactions = tasks * work.transactions_per_task
        shard_writes = limits.SHARD_BUSY / limits.WRITE_SECONDS
        shards = max(limits.LEAST_SHARDS, 2 ** math.ceil(math.log2(max(1.0, transactions / shard_writes))))
        actions = signals + told + telling + runs_rate + load.queries
        cores = self._cores(signals, tasks, packed)
        whole_state = all_partitions * sum(state)
        workers = topics * (len(shape.workers) * partitions + shape.aggregates)
        processes = max(math.ceil(cores.worker / BUSY), math.ceil(workers / (BUSY * limits.CACHED_WORKFLOWS)))
        memory = whole_state * costs.memory_per_byte + processes * costs.process_bytes
        open_bytes = all_partitions * sum(run.bytes for run in runs) / 2
        retained = history_bytes * load.retention_days * limits.SECONDS_A_DAY
        feeders = topics * layout.feeders
        fill = batch * feeders / load.events
        prices = limits.Prices()
        paid = max(sum(cores) / BUSY, memory / 2**30 / prices.core_gib)
        disks = (open_bytes + retained) / 1e9 * REPLICAS * prices.disk
        stored = (open_bytes * prices.active + retained * prices.retained) / 1e9 * limits.HOURS_A_MONTH
        millions = actions * limits.HOURS_A_MONTH * 3_600 / 1e6
        found = Need(
            load=load,
            layout=layout,
            fuse=self.metric.fuse,
            workers=workers,
            pulsar_partitions=feeders * PULSAR_PARTITIONS_PER_FEEDER,
            topic_bytes=load.events * load.event_bytes,
            skew=skew,
            leaf_rate=flow.leaf_rate,
            batch=batch,
            events_per_leaf_message=batch / flow.touched / flow.parts,
            feeder_signals=signals,
            edge_messages=told,
            tasks=tasks,
            history_events=history_events,
            history_bytes=history_bytes,
            payload_bytes=all_partitions * sum(one.bytes for one in flow.flows),
            runs=runs_rate,
            actions=actions,
            transactions=transactions,
            rows=tasks * work.rows_per_task,
            database_log=history_bytes * work.log_per_byte,
            shards=shards,
            state=whole_state,
            states=tuple(state),
            largest_state=max(state) * skew,
            memory=memory,
            archives_a_day=max(left / limits.ARCHIVE_KEYS, archived / limits.ARCHIVE_BYTES),
            archive_bytes_a_day=archived,
            open_bytes=open_bytes,
            retained_bytes=retained,
            feeder_cores=cores.feeder,
            worker_cores=cores.worker,
            worker_processes=processes,
            server_cores=cores.server,
            database_cores=cores.database,
            fill_seconds=fill,
            fresh_seconds=fill + _depth(shape) * costs.round_seconds,
            self_hosted=paid * prices.core * limits.HOURS_A_MONTH + disks,
            cloud_actions=prices.of_actions(millions) * (1 + prices.support),
            cloud_storage=stored * (1 + prices.support),
            limits=(),
        )
        return replace(found, limits=tuple(self._limits(found, flow, runs)))

    def _cores(self, signals: float, tasks: float, packed: float) -> _Cores:
        """What is kept busy by so many signals, tasks, and bytes of states to pack and to read, a second."""
        load, work = self.load, self.engine.work
        feeder = load.events * work.feeder_per_event * self.leaves + signals * work.feeder_per_signal
        worker = load.events * work.worker_per_event * self.nodes + tasks * work.worker_per_task
        worker += packed * self.costs.pack_us_per_byte + load.queries * work.query
        server, database = tasks * work.server_per_task, tasks * work.database_per_task
        return _Cores(feeder / 1e6, worker / 1e6, server / 1e6, database / 1e6)

    def _busiest(self, flow: Traffic) -> float:
        """Of a core, what the worker takes that has most tasks."""
        work, layout = self.engine.work, self.layout
        events = self.load.events / (layout.topics * layout.partitions)
        computing = events * work.worker_per_event * self.nodes / len(self.shape.workers)
        return (max(one.tasks for one in flow.flows) * work.worker_per_task + computing) / 1e6

    def _limits(self, found: Need, flow: Traffic, runs: list[Run]) -> Iterator[Limit]:
        layout, load = self.layout, self.load
        feeders = layout.topics * layout.feeders
        longest = max(runs, key=lambda run: run.bytes)
        more = "more partitions"
        yield Limit(
            WORKERS,
            found.workers / layout.topics,
            MAX_WORKERS,
            "workers",
            "fewer partitions, `fuse: true`, or several topics with a metric each",
        )
        yield Limit(
            STATE,
            found.largest_state,
            limits.STATE_BYTES,
            "bytes",
            f"{more}, a shorter retention or key_ttl",
        )
        yield Limit(WORKER, self._busiest(flow) * found.skew, 1.0, "of a core", f"{more}, a larger batch")
        most = fullest(load.sessions, feeders, load.spread)
        yield Limit(
            FEEDER_CPU,
            found.feeder_cores / feeders * most,
            1.0,
            "of a core",
            "more feeders, a larger batch",
        )
        yield Limit(
            FEEDER_SIGNALS,
            found.feeder_signals / feeders,
            limits.CONCURRENT_SIGNALS / limits.SIGNAL_SECONDS,
            "signals/s",
            "more feeders, a larger batch, fewer partitions",
        )
        yield Limit(
            BUFFERED,
            float(layout.feeders * limits.OUTSTANDING),
            limits.BUFFERED_SIGNALS,
            "signals",
            "fewer feeders a topic: several topics",
        )
        yield Limit(
            SIGNALLED,
            max(one.heard for one in flow.flows),
            limits.SIGNALS_PER_SECOND,
            "signals/s",
            "a larger batch; several topics, so that fewer feeders signal a leaf",
            hard=False,
        )
        yield Limit("signals in a run", max(run.signals for run in runs), limits.RUN_SIGNALS, "signals", more)
        yield Limit(
            "events in a run's history", max(run.events for run in runs), limits.RUN_EVENTS, "events", more
        )
        yield Limit("bytes of a run's history", longest.bytes, limits.RUN_BYTES, "bytes", more)
        yield Limit(
            "runs of one worker", max(1 / run.seconds for run in runs), limits.RUNS_PER_SECOND, "runs/s", more
        )
        yield Limit("a message to a leaf", flow.leaf_message, limits.BLOB_BYTES, "bytes", "a smaller batch")
        yield Limit(
            "activities of a worker at once",
            1.0,
            limits.PENDING_ACTIVITIES,
            "activities",
            "nothing: one at a time",
        )
        yield Limit(
            CLOUD,
            found.actions,
            limits.NAMESPACE_ACTIONS,
            "actions/s",
            "provisioned capacity, a unit for each such rate; `fuse: true`; a larger batch",
            hard=False,
        )


def _depth(shape: Shape) -> int:
    """How many workers are on the longest path."""
    depth: list[int] = []
    for _, inputs in shape.workers:
        depth.append(1 + max((depth[child] for child in inputs), default=0))
    return max(depth)
