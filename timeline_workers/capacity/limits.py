"""Limits and prices of others, and of ours where a plan meets them, each with its source.

Prices are list prices in US dollars, as read on 2026-11-22; they are an order of magnitude, not an offer.
"""

from __future__ import annotations

from dataclasses import dataclass

MIB = 2**20
KIB = 2**10

# Ours. The modules that enforce them are not imported: they know Temporal or Pulsar.
# `tests/capacity/test_limits.py` holds each against its module.
OUTSTANDING = 8  # feeder.leaves: batches ahead of a leaf
CONCURRENT_SIGNALS = 32  # feeder.leaves: signals on their way at once
PAYLOAD_BYTES = 400 * KIB  # feeder.route: a leaf message is split beyond
MESSAGE_BYTES = 256 * KIB  # settings: a message between workers is split beyond
BATCH = 40_000  # feeder.consume: most messages in one batch by default
STATE_BYTES = 16 * MIB  # settings: the packed state of one worker
INLINE_STATE_BYTES = 448 * KIB  # workflows.durable.carry: larger states go through the history
STATE_PART_BYTES = 448 * KIB  # workflows.durable.carry
HISTORY_LIMIT_BYTES = 46 * MIB  # workflows.durable.carry: what a run may leave behind
WORK_PER_STATE = 3  # workflows.durable.carry: a run's history is so many times its state
LONGEST_HISTORY = 40_000  # workflows.durable.carry
MOST_SIGNALS = 8_000  # workflows.durable.carry: in a run with a large state
CACHED_WORKFLOWS = 1_000  # settings: of a worker process
ARCHIVE_KEYS = 100_000  # runtime.departing
ARCHIVE_BYTES = 4 * MIB  # runtime.departing

# Temporal: docs.temporal.io/self-hosted-guide/defaults and docs.temporal.io/workflow-execution/limits.
RUN_EVENTS = 51_200
RUN_BYTES = 50 * MIB
RUN_SIGNALS = 10_000
PENDING_ACTIVITIES = 2_000
BLOB_BYTES = 2 * MIB
# Dynamic configuration limit.historyCount.suggestContinueAsNew and limit.historySize.suggestContinueAsNew.
SUGGESTED_EVENTS = 4_096
SUGGESTED_BYTES = 4 * MIB
# The server fails a workflow task during which more signals have come (docs/architecture.md, feeder.leaves).
BUFFERED_SIGNALS = 100
# Guidance of the maintainers, no limit: a workflow is written to one signal at a time.
SIGNALS_PER_SECOND = 5.0

# Temporal Cloud: docs.temporal.io/cloud/limits, /cloud/capacity-modes, /cloud/service-availability.
NAMESPACE_ACTIONS = 500  # a second, and of each Temporal Resource Unit that is provisioned
RUNS_PER_SECOND = 1.0  # new executions of one workflow id
SIGNAL_SECONDS = 0.019  # nine of ten signals take less

# A history shard writes one thing at a time, so the database's latency bounds it. Assumed:
WRITE_SECONDS = 0.005
SHARD_BUSY = 0.3
LEAST_SHARDS = 512

SECONDS_A_DAY = 86_400
HOURS_A_MONTH = 730


@dataclass(frozen=True, slots=True)
class Prices:
    """``core``: a vCPU with ``core_gib`` of memory for an hour (AWS m7g.large, which has two, us-east-1, on
    demand, June 2026). ``disk``: a GB for a month (EBS gp3). The rest from docs.temporal.io/cloud/pricing:
    ``actions``: the price of a million of them up to so many millions a month; beyond 200 the list says to
    ask, and the last price is taken. ``active``, ``retained``: a GB of open and of closed histories for an
    hour. ``support``: on top.
    """

    core: float = 0.0816 / 2
    core_gib: float = 4.0
    disk: float = 0.08
    actions: tuple[tuple[float, float], ...] = (
        (5, 50.0),
        (10, 45.0),
        (20, 40.0),
        (50, 35.0),
        (100, 30.0),
        (float("inf"), 25.0),
    )
    active: float = 0.042
    retained: float = 0.00105
    support: float = 0.10

    def of_actions(self, millions: float) -> float:
        """What so many million actions cost in one month."""
        total = below = 0.0
        for up_to, price in self.actions:
            total += max(0.0, min(millions, up_to) - below) * price
            below = up_to
        return total
