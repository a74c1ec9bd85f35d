"""Measured costs, and the limits and prices of others, each with its source: all that the model counts with.

The costs are in ``measured.json`` beside this module; ``python -m benchmarks constants`` makes them anew.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

import msgspec


class Bytes(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes of messages and states of a graph; keys are UUIDs.

    ``leaf_per_event``: in all leaf messages together; ``edge_per_event``: in all messages between workers;
    ``leaf_per_message``, ``edge_per_message``: once a message. Of all workers of a partition, packed:
    ``idle`` of a session that has one final event, ``kept`` of each further event that is kept, ``archived``
    of a session that has left. ``largest_idle``, ``largest_kept``: of the worker that has most.
    """

    leaf_per_event: float
    leaf_per_message: float
    edge_per_event: float
    edge_per_message: float
    idle: float
    largest_idle: float
    kept: float
    largest_kept: float
    archived: float


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """Processor time in microseconds, by who uses it, and what a workflow task costs the database.

    ``feeder_per_event``, ``feeder_per_signal``; ``worker_per_event``, ``worker_per_task`` (a workflow task);
    ``server_per_task`` and ``database_per_task``; ``query``: of worker and server together, one question.
    ``transactions_per_task``, ``rows_per_task``: committed transactions and written rows; ``log_per_byte``:
    bytes of the database's own log for each byte of history.
    """

    feeder_per_event: float
    feeder_per_signal: float
    worker_per_event: float
    worker_per_task: float
    server_per_task: float
    database_per_task: float
    query: float
    transactions_per_task: float
    rows_per_task: float
    log_per_byte: float


class Engine(msgspec.Struct, frozen=True, kw_only=True):
    """Costs of the reference graph with ``nodes`` nodes and ``leaves`` leaves, as ``workers`` workers a
    partition that ``edges`` edges join.
    """

    nodes: int
    leaves: int
    workers: int
    edges: int
    bytes: Bytes
    work: Work


class Costs(msgspec.Struct, frozen=True, kw_only=True):
    """``separate``: each node a worker; ``fused``: with `fuse: true`.

    ``round_seconds``: from a workflow task's being scheduled to its end, the messages that it sends
    included; ``pack_us_per_byte``: packing and reading a state, of the packed byte; ``history_per_event``,
    ``history_per_run``: bytes that a history has beside payloads, for an event and for the start of a run;
    ``memory_per_byte``: resident bytes for a packed byte of state; ``process_bytes``: of a worker process
    that holds nothing.
    """

    machine: dict[str, Any]
    versions: dict[str, str | None]
    expression: str
    separate: Engine
    fused: Engine
    round_seconds: float
    pack_us_per_byte: float
    history_per_event: float
    history_per_run: float
    memory_per_byte: float
    process_bytes: float


@cache
def measured() -> Costs:
    """The costs that were measured."""
    return read(files(__package__).joinpath("measured.json").read_bytes())


def read(data: bytes) -> Costs:
    """Decode costs; raises msgspec.ValidationError for what is none."""
    return msgspec.json.decode(data, type=Costs)
