"""Writes ``docs/scale.md`` from the capacity model: ``python docs/generate_scale.py``.

Every figure on the page is the model's, or stands in a file that was measured or simulated, so the page
cannot say what the model does not. A test compares the page with what this makes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from timeline_workers.capacity import limits
from timeline_workers.capacity.capacity_model import (
    BUSY,
    PULSAR_PARTITIONS_PER_FEEDER,
    REPLICAS,
    choose,
    need,
)
from timeline_workers.capacity.costs import Costs, Engine, measured
from timeline_workers.capacity.show import limit_rows, money, number, size
from timeline_workers.capacity.terms import Layout, Load, Need
from timeline_workers.metric.load import load_metric
from timeline_workers.plan.physical import MAX_WORKERS, Plan, plan

HERE = Path(__file__).parent
PAGE = HERE / "scale.md"
METRIC = HERE / "scale.yaml"
SIMULATION = HERE / "scale-simulation.json"
STEADY = HERE / "scale-steady.json"
LOAD = Load(sessions=10_000_000, events=580_000.0)


def planned(fuse: bool) -> Plan:
    """The metric of the page, with or without fused workers."""
    return plan(load_metric(METRIC).model_copy(update={"fuse": fuse}))


def variants() -> dict[str, Need]:
    """The layouts that the page compares, by what it calls them."""
    separate, fused = planned(False), planned(True)

    def of(metric: Plan, **asked: Any) -> Need:
        return need(metric, LOAD, choose(metric, LOAD, **asked))

    fewest = choose(fused, LOAD)
    return {
        "one topic": of(separate, topics=1),
        "one topic, fused": of(fused, topics=1),
        f"{fewest.topics} topics": of(separate, topics=fewest.topics),
        f"{fewest.topics} topics, fused": need(fused, LOAD, fewest),
        "a topic a feeder, fused": of(fused, topics=2 * fewest.topics, feeders=1),
        "the same, larger batches": of(fused, topics=4 * fewest.topics, feeders=1, batch=50_000, wait=5.0),
    }


def page() -> str:
    """The text of ``docs/scale.md``."""
    return "\n".join(_page())


def _page() -> Iterator[str]:
    costs, found = measured(), variants()
    names = list(found)
    least, best = found[names[3]], found[names[-1]]
    one = found[names[1]]
    yield f"""\
# Ten million sessions

Made by `python docs/generate_scale.py`; do not edit. What do {LOAD.sessions:,} concurrent sessions and {LOAD.events:,.0f} events a second need, the
50 billion events a day of the CIDR 2023 paper? The figures are those of a model (`timeline_workers/capacity`) over costs that were measured
on one small machine; a simulation holds the model to account. Nobody has run it at this size. For a load of your own:

```
timeline capacity docs/scale.yaml --sessions 10000000 --events-per-second 580000
```

The metric is [scale.yaml](scale.yaml): the paper's rebuffering on one CDN, {len(planned(False).nodes)} nodes, with a retention and a `key_ttl` of ten minutes
and a minute's lateness. A session lasts {LOAD.session_seconds / 60:.0f} minutes and has an event every {LOAD.sessions / LOAD.events:.0f} s; some are busier (their rates
have a standard deviation of {LOAD.spread:.0%} of the mean). Keys are UUIDs.

## What it needs
"""
    yield _table(found)
    yield f"""
Everything is planned to be {BUSY:.0%} busy: processes, partitions and cores paid for are so many more. *Tasks* are workflow tasks; transactions are those that read, too. *Answers*: how
long after an event at full load they include it, mostly the time in which a batch fills. Not counted: Pulsar's brokers and bookies, the visibility
store, networks between zones, and people.

## What limits first

**One topic does not carry it.** A feeder's batch goes to every leaf in every partition that one of its keys is in, and the keys of a batch are in
all of them. So each leaf is signalled as often as all feeders together have batches, {number(one.leaf_rate)} times a second with {one.batch:,} events each, and a
partition more makes each signal smaller but none fewer: {number(one.events_per_leaf_message)} events in one.

{_limits(one)}

**What to do:** divide the stream into topics by key when it is published, with a metric for each, so that a leaf hears only its own topic's
feeders. It takes no change of this project: the same file, with another topic and name, and `python -m feeder --metric NAME` for each. A
question about a session goes to the metric of its topic. With {least.layout.topics} topics nothing of ours or of a self-hosted Temporal is at its end:

{_limits(least)}

After that it is a matter of price, and of how fresh answers must be. The work per message is many times that per event: a workflow task
costs {number(_per_task(costs.fused) / 1e3)} ms of all processors together, as much as {number(_per_task(costs.fused) / _per_event(costs.fused))} events. So, in this order:

- **Fewer signals.** A topic for each feeder and larger batches need {number(best.cores)} busy cores instead of {number(least.cores)}, and answers are
  {best.fresh_seconds:.0f} s old instead of {least.fresh_seconds:.0f}.
- **`fuse: true`** saves {1 - least.cores / found[names[2]].cores:.0%} of the cores and {1 - least.actions / found[names[2]].actions:.0%} of the actions of {names[2]}.
- **A smaller state.** {1 - _payload_share(least, costs):.0%} of the bytes of history are not what workers were told, but their own state on its way to
  the next run, and the frames of events. A shorter retention, lateness or `key_ttl` shrinks it.
- **Archives only grow**, as long as the metric is there: every session that has ended stays answerable. They take
  {size(365 * least.archive_bytes_a_day)} a year, which is in none of the figures above; Temporal Cloud would ask {money(_archives_month(least))} a month for those of the
  first thirty days. Without `key_ttl` the sessions stay in the workers, which is worse. Archives end with their metric: give each month
  a topic of its own, with its metric, and delete the old one when it is not asked any more.
- **Temporal Cloud** asks for {number(least.actions / limits.NAMESPACE_ACTIONS)} times the {limits.NAMESPACE_ACTIONS} actions a second that a namespace begins with, and the list price of actions is
  far above that of cores: at {money(best.cloud_actions)} a month for the cheapest layout, against {money(best.self_hosted)} for everything of our own.

What this project could do about it: let the feeder choose partitions as the broker does, so that a leaf hears one feeder and one topic\nbehaves as many do.

## Costs it counts with

Measured by `python -m benchmarks constants` on {costs.machine["cores"]} cores ({costs.machine["cpu"]}, Python {costs.machine["python"]}), which were busy with other work (load average
{costs.machine["load_average"]}): Temporal's four services over PostgreSQL on the same machine, the reference graph of `python -m benchmarks cost`
({costs.separate.nodes} nodes, {costs.separate.leaves} of them leaves). Processor times are therefore more likely too high than too low. Bytes depend on no machine.
"""
    yield _costs(costs)
    yield f"""
A workflow task of a worker takes {1e3 * costs.round_seconds:.0f} ms with the messages that it sends (the quickest tenth; it matters where more comes than a worker
can take one by one). An event of a history has {costs.history_per_event:.0f} bytes beside its payload, the first one {size(costs.history_per_run)}. Packing and reading a
state costs {1e3 * costs.pack_us_per_byte:.0f} ns a byte; in memory it is {costs.memory_per_byte:.1f} times as large. A worker process at rest has {size(costs.process_bytes)}.

Counted, not measured: a run ends at {limits.SUGGESTED_EVENTS:,} events or {limits.SUGGESTED_BYTES // limits.MIB} MiB, where Temporal suggests it, or when a state larger than
{limits.INLINE_STATE_BYTES // limits.KIB} KiB has been worked upon for {limits.WORK_PER_STATE} times its size. A history event is a signal, one of the three of a workflow task, or a message sent:
the histories of the measured runs have exactly that many.

## Where the figures come from

| figure | from |
|---|---|
| signals | events / batch × partitions that a batch reaches × leaves |
| tasks, messages between workers | the graph: one batch through it, each task taking as long as any other (`capacity/shape.py`) |
| history | signals + 3 × tasks + messages, and the hand-over of states (`capacity/traffic.py`) |
| partitions | the state of the largest worker is at most {BUSY:.0%} of {limits.STATE_BYTES // limits.MIB} MiB, with what the fullest partition has more |
| feeders | a process has one core, and {limits.CONCURRENT_SIGNALS} signals on their way at once, {1e3 * limits.SIGNAL_SECONDS:.0f} ms each (Temporal Cloud's 90th percentile) |
| Pulsar partitions | {PULSAR_PARTITIONS_PER_FEEDER} for each feeder, so that one more or less divides them well |
| history shards | transactions, {1e3 * limits.WRITE_SECONDS:.0f} ms each, one at a time in a shard, {limits.SHARD_BUSY:.0%} of the time; at least {limits.LEAST_SHARDS} |
| worker processes | cores, {BUSY:.0%} busy |
| self-hosted | a vCPU with {limits.Prices().core_gib:.0f} GiB ${limits.Prices().core:.4f} an hour (AWS m7g, us-east-1, on demand, June 2026); disks ${limits.Prices().disk:.2f} a GB a month (EBS gp3), {REPLICAS} copies |
| Temporal Cloud | docs.temporal.io/cloud/pricing, read on 2026-11-22: ${limits.Prices().actions[0][1]:.0f} to ${limits.Prices().actions[-1][1]:.0f} a million actions (beyond 200 million a month it says to ask: taken at the last price, so an upper bound), ${limits.Prices().active} and ${limits.Prices().retained} a GB and hour of open and closed histories, {limits.Prices().support:.0%} support |
| limits | docs.temporal.io/workflow-execution/limits, /self-hosted-guide/defaults, /cloud/limits; ours in the code; {MAX_WORKERS:,} workers a metric |

## The simulation

`python -m benchmarks capacity docs/scale.yaml` draws the keys of all sessions, places each with the planner's own `partition_of` and as
Pulsar's producer would, makes batches of what the feeders' partitions hold, and lets the workers of the topic with most events go
through half an hour of simulated time: tasks that take different lengths, messages that wait for each other, runs that end and hand their state on.
Small ones run with the tests, fused and not, also where a feeder keeps up with little and where messages come faster than workers take them.
"""
    yield _simulation()
    yield f"""
## Against real workers

`python -m benchmarks steady` feeds the reference graph on Temporal's dev server at a rate that it keeps up with, and counts in the histories what a batch
has made the workers do. {_steady_words()}
"""
    yield _steady()
    yield """
## What to doubt

- Costs of other graphs are taken to grow with nodes, leaves and edges. Only one graph was measured.
- Processor time on a busy machine with two cores is not that of a server with sixty-four; PostgreSQL on one disk is not the database that takes
  these writes. Cassandra or a sharded database would, at other costs.
- Where paths of a graph join, the model counts a little too few tasks (the simulation of the same metric without `fuse` finds up to an
  eighth more), for it lets each task take equally long.
- A worker's time for an event was measured with thousands of sessions a partition, not with tens of thousands.
- All workers share a task queue, which Temporal divides into four partitions by default; what one of them carries was not measured.
- Late events, backfills, failures and deploys come on top; half of everything is kept free for them.
- The list price of a million actions beyond two hundred million a month is not public.
"""


def _per_task(engine: Engine) -> float:
    return engine.work.worker_per_task + engine.work.server_per_task + engine.work.database_per_task


def _per_event(engine: Engine) -> float:
    return engine.work.worker_per_event + engine.work.feeder_per_event


def _archives_month(found: Need) -> float:
    """What Temporal Cloud asks a month for the archives of thirty days."""
    return 30 * found.archive_bytes_a_day / 1e9 * limits.Prices().active * limits.HOURS_A_MONTH


def _payload_share(found: Need, costs: Costs) -> float:
    """How much of the bytes of history is what workers were told."""
    return found.payload_bytes / found.history_bytes


def _grid(rows: list[list[str]], right: bool = True) -> str:
    head, *rest = rows
    line = "|---|" + ("---:|" if right else "---|") * (len(head) - 1)
    return "\n".join(["| " + " | ".join(head) + " |", line, *("| " + " | ".join(row) + " |" for row in rest)])


def _table(found: dict[str, Need]) -> str:
    def each(name: str, say: Callable[[Need], str]) -> list[str]:
        return [name, *(say(one) for one in found.values())]

    def layout(say: Callable[[Layout], object]) -> Callable[[Need], str]:
        return lambda one: f"{say(one.layout):,}"

    return _grid(
        [
            ["", *found],
            each("topics", layout(lambda plan: plan.topics)),
            each("feeders a topic", layout(lambda plan: plan.feeders)),
            each("partitions of a metric", layout(lambda plan: plan.partitions)),
            each("Pulsar partitions", lambda n: number(n.pulsar_partitions)),
            each("workflows", lambda n: number(n.workers)),
            each("events in a batch", lambda n: f"{n.batch:,}"),
            each("events in a signal to a leaf", lambda n: number(n.events_per_leaf_message)),
            each("signals to one leaf/s", lambda n: number(n.leaf_rate)),
            each("signals/s", lambda n: number(n.signals)),
            each("tasks/s", lambda n: number(n.tasks)),
            each("history events/s", lambda n: number(n.history_events)),
            each("history/s", lambda n: size(n.history_bytes)),
            each("new runs/s", lambda n: number(n.runs)),
            each("history shards", lambda n: f"{n.shards:,}"),
            each("database transactions/s", lambda n: number(n.transactions)),
            each("rows written/s", lambda n: number(n.rows)),
            each("database's log/s", lambda n: size(n.database_log)),
            each("database holds", lambda n: size(n.open_bytes + n.retained_bytes)),
            each("state, packed", lambda n: size(n.state)),
            each("the largest worker's", lambda n: size(n.largest_state)),
            each("archives a day, workflows", lambda n: number(n.archives_a_day)),
            each("their bytes", lambda n: size(n.archive_bytes_a_day)),
            each("worker processes", lambda n: number(n.worker_processes)),
            each("their memory", lambda n: size(n.memory)),
            each("cores busy: feeders", lambda n: number(n.feeder_cores)),
            each("workers", lambda n: number(n.worker_cores)),
            each("Temporal", lambda n: number(n.server_cores)),
            each("database", lambda n: number(n.database_cores)),
            each("**all**", lambda n: f"**{number(n.cores)}**"),
            each("answers after", lambda n: f"{n.fresh_seconds:.1f} s"),
            each("self-hosted, a month", lambda n: money(n.self_hosted)),
            each("Temporal Cloud: actions/s", lambda n: number(n.actions)),
            each("actions, a month", lambda n: money(n.cloud_actions)),
            each("storage, a month", lambda n: money(n.cloud_storage)),
            each("**works**", lambda n: "yes" if n.fits else "**no**"),
        ]
    )


def _limits(found: Need) -> str:
    rows = list(limit_rows(found))
    return _grid([["limit", "need", "most", "used", "what helps"], *map(list, rows[:8])], right=False)


def _costs(costs: Costs) -> str:
    def each(name: str, say: Callable[[Engine], float], show: Callable[[float], str] = number) -> list[str]:
        return [name, show(say(costs.separate)), show(say(costs.fused))]

    def micro(value: float) -> str:
        return f"{number(value)} µs" if value < 1e3 else f"{number(value / 1e3)} ms"

    return _grid(
        [
            ["", "each node a worker", "`fuse: true`"],
            each("workers, edges between them", lambda e: e.workers)[:1]
            + [f"{e.workers}, {e.edges}" for e in (costs.separate, costs.fused)],
            each("feeder: an event", lambda e: e.work.feeder_per_event, micro),
            each("a signal", lambda e: e.work.feeder_per_signal, micro),
            each("workers: an event, at all nodes", lambda e: e.work.worker_per_event, micro),
            each("a workflow task", lambda e: e.work.worker_per_task, micro),
            each("Temporal: a workflow task", lambda e: e.work.server_per_task, micro),
            each("PostgreSQL: a workflow task", lambda e: e.work.database_per_task, micro),
            each("its transactions", lambda e: e.work.transactions_per_task),
            each("its rows", lambda e: e.work.rows_per_task),
            each("its log, for a byte of history", lambda e: e.work.log_per_byte, size),
            each("a question", lambda e: e.work.query, micro),
            each("to all leaves: an event", lambda e: e.bytes.leaf_per_event, size),
            each("each message", lambda e: e.bytes.leaf_per_message, size),
            each("between workers: an event", lambda e: e.bytes.edge_per_event, size),
            each("each message", lambda e: e.bytes.edge_per_message, size),
            each("state, packed: an idle session", lambda e: e.bytes.idle, size),
            each("each further event that is kept", lambda e: e.bytes.kept, size),
            each("a session in an archive", lambda e: e.bytes.archived, size),
        ]
    )


def _simulation() -> str:
    data = json.loads(SIMULATION.read_text())
    load, layout, tally = data["load"], data["layout"], data["tally"]
    checks = [["", "model", "simulated", "ratio", "may differ by"]]
    for check in data["checks"]:
        ratio = check["simulated"] / check["model"]
        show = (lambda value: f"{value:.3f}") if check["model"] < 2 else number
        checks.append(
            [
                check["name"],
                show(check["model"]),
                show(check["simulated"]),
                f"{ratio:.3f}",
                f"{check['within']:.0%}",
            ]
        )
    skews = [["the fullest against the mean", ""], *([name, f"{s:.3f}"] for name, s in data["skews"].items())]
    most = [["most that was found", "", "limit"]]
    most += [[name, number(found), f"{end:,}"] for name, (found, end) in data["most"].items()]
    head = (
        f"{load['sessions']:,} sessions, {load['events']:,.0f} events a second; {layout['topics']} topics with "
        f"{layout['feeders']} feeders and {layout['partitions']} partitions each; "
        f"{data['seconds']:,.0f} s, in which {tally['runs']:,} runs ended."
    )
    return "\n\n".join([head, _grid(checks), _grid(skews), _grid(most)])


def _steady_words() -> str:
    data = json.loads(STEADY.read_text())
    return (
        f"For each message to a leaf, at {data['rate']:,.0f} events/s, with a load average of {data['machine']['load_average']} on "
        f"{data['machine']['cores']} cores. Where tasks wait for a processor, more messages meet, and there are fewer than the model counts."
    )


def _steady() -> str:
    rows = [["", "model", "counted", "ratio"]]
    for one in json.loads(STEADY.read_text())["found"]:
        for name, model in one["model"].items():
            counted = one["counted"][name]
            fused = ", fused" if one["fuse"] else ""
            rows.append([name + fused, f"{model:.2f}", f"{counted:.2f}", f"{counted / model:.3f}"])
    return _grid(rows)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
