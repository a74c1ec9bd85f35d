"""The terms of a capacity plan: a load, a layout, and what they need."""

from __future__ import annotations

from dataclasses import dataclass, field

from . import limits

CLOUD = "actions in one namespace of Temporal Cloud"
WAIT_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Load:
    """``sessions`` at a time, ``events`` a second of them all; a session lasts ``session_seconds``.

    ``queries``: questions a second about one key each. ``spread``: the standard deviation of sessions' rates
    as a share of the mean. ``retention_days``: how long Temporal keeps closed runs. ``event_bytes``: of an
    event on the topic.
    """

    sessions: int
    events: float
    session_seconds: float = 1_800.0
    queries: float = 100.0
    spread: float = 1.0
    retention_days: float = 1.0
    event_bytes: float = 150.0


@dataclass(frozen=True, slots=True)
class Layout:
    """How it is laid out: ``partitions`` and ``feeders`` of each of ``topics`` topics; a feeder's batch has
    ``batch`` events, or what comes in ``wait`` seconds, its ``--gather-ms``.
    """

    partitions: int
    feeders: int
    batch: int = limits.BATCH
    topics: int = 1
    wait: float = WAIT_SECONDS

    def events_in_batch(self, events: float) -> int:
        """How many events a batch has where so many come in a second, of all topics."""
        gathered = events * self.wait / (self.topics * self.feeders)
        return max(1, min(self.batch, round(gathered)))


@dataclass(frozen=True, slots=True)
class Limit:
    """Something that has an end. ``use``: how much of it is used, 1 at the end. ``hard``: beyond it, it does
    not work; otherwise it is a guidance. ``remedy``: what to do about it.
    """

    name: str
    need: float
    most: float
    unit: str
    remedy: str
    hard: bool = True

    @property
    def use(self) -> float:
        """The share that is used."""
        return self.need / self.most


@dataclass(frozen=True, slots=True)
class Need:
    """What a load needs. Rates are a second, of all topics; sizes are bytes; costs are dollars a month.

    ``payload_bytes``: those bytes of history that tell workers something. ``states``: of each worker of a
    partition. ``leaf_rate``: signals to one leaf. ``cloud_actions`` and
    ``cloud_storage`` are instead of Temporal's and the database's share of ``self_hosted``.
    """

    load: Load
    layout: Layout
    fuse: bool
    workers: int
    pulsar_partitions: int
    topic_bytes: float
    skew: float
    leaf_rate: float
    batch: int
    events_per_leaf_message: float
    feeder_signals: float
    edge_messages: float
    tasks: float
    history_events: float
    history_bytes: float
    payload_bytes: float
    runs: float
    actions: float
    transactions: float
    rows: float
    database_log: float
    shards: int
    state: float
    states: tuple[float, ...]
    largest_state: float
    memory: float
    archives_a_day: float
    archive_bytes_a_day: float
    open_bytes: float
    retained_bytes: float
    feeder_cores: float
    worker_cores: float
    worker_processes: int
    server_cores: float
    database_cores: float
    fill_seconds: float
    fresh_seconds: float
    self_hosted: float
    cloud_actions: float
    cloud_storage: float
    limits: tuple[Limit, ...] = field(repr=False)

    @property
    def signals(self) -> float:
        """All signals a second."""
        return self.feeder_signals + self.edge_messages

    @property
    def cores(self) -> float:
        """All processors that are kept busy."""
        return self.feeder_cores + self.worker_cores + self.server_cores + self.database_cores

    @property
    def first(self) -> Limit:
        """What is nearest to its end."""
        return max(self.limits, key=lambda limit: limit.use)

    @property
    def fits(self) -> bool:
        """Whether no hard limit is passed."""
        return all(limit.use <= 1 for limit in self.limits if limit.hard)

    @property
    def fits_well(self) -> bool:
        """Whether no limit is passed but those that more money lifts."""
        return all(limit.use <= 1 for limit in self.limits if limit.name != CLOUD)
