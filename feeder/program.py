"""``python -m feeder``: feed every registered metric, or those named with ``--metric``, until stopped."""

from __future__ import annotations

import asyncio
import hashlib
import sys
import traceback
from collections.abc import Awaitable, Callable, Sequence
from time import monotonic
from typing import Annotated

import structlog
import typer
from temporalio.service import RPCError

from feeder.delivery.leaf_delivery import LeafLostError, Leaves
from feeder.delivery.leaf_workers import TemporalLeafWorkers
from feeder.delivery.repair import Repair
from feeder.delivery.retry import NeverReturnedError, persist
from feeder.recovery.continuity import OnReset, StoppedError, TopicResetError
from feeder.recovery.gaps import GapError, Gaps
from feeder.source.begin import Begin, BeginError
from feeder.source.connect_pulsar import connect_source
from feeder.source.locks import turn
from feeder.source.partitioned_source import SourceError
from feeder.storing.history_retention import Retention
from feeder.storing.open_tees import open_tees
from timeline_workers.errors import ConnectionFailedError, TimelineError
from timeline_workers.process.exit import collect_seldom, leave, stop_signals
from timeline_workers.process.exit_codes import ExitCode, exit_code
from timeline_workers.process.logging import configure_logging
from timeline_workers.process.out_of_memory import (
    ending_without_memory,
    watch_for_memory_errors,
    watch_headroom,
)
from timeline_workers.servers.pulsar.pulsar_client import connect as connect_pulsar, pulsar_url
from timeline_workers.servers.temporal.temporal_client import connect as connect_temporal
from timeline_workers.settings.timeline_settings import LogSettings
from timeline_workers.settings.written_text import refuse_bytes

from .metric_catalog import Catalog
from .reporting import Counts, reasons, report, summary
from .topic_feeder import (
    BATCH_MESSAGES,
    BATCH_WAIT_MS,
    SUBSCRIPTION,
    DisconnectedError,
    TopicChangedError,
    TopicFeeder,
)

log = structlog.get_logger("feeder")

GRACE_SECONDS = 20.0
DISCOVERY_SECONDS = 0.25
RESUBSCRIBE_SECONDS = 5.0
SAY_AGAIN_SECONDS = 60.0
GAP_SECONDS = 0.5

# Made now: then there may be no memory for it.
_NO_MEMORY = (
    f"error: out of memory: the feeder exits with code {ExitCode.OUT_OF_MEMORY}, to be restarted; it resumes "
    "from the leaves' positions. Raise its memory limit, or have it feed fewer metrics (--metric) or smaller "
    "batches (--batch)\n"
).encode()

Make = Callable[[str], Awaitable[TopicFeeder]]
"""Connects to a topic and makes its feeder."""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")


@app.command()
def main(
    metric: Annotated[
        list[str] | None,
        typer.Option("--metric", "-m", help="Feed this metric only (repeatable); all by default."),
    ] = None,
    subscription: Annotated[
        str | None,
        typer.Option(
            help="Subscription name; by default one for all metrics, or one for the set of --metric."
        ),
    ] = None,
    begin: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="Begin at the messages published then: earliest, latest, an ISO 8601 time (UTC), or seconds "
            "since the epoch. Moves the subscription. Default: where it is, and at first earliest.",
        ),
    ] = None,
    batch: Annotated[
        int, typer.Option(min=1, max=50_000, help="Most messages in one batch.")
    ] = BATCH_MESSAGES,
    wait_ms: Annotated[
        int,
        typer.Option(
            min=1,
            max=10_000,
            help="Longest wait for a batch to fill, in milliseconds, while Temporal is busy.",
        ),
    ] = BATCH_WAIT_MS,
    gather_ms: Annotated[
        int,
        typer.Option(
            min=0,
            max=10_000,
            help="Let every batch gather for so long, in milliseconds: fewer and larger ones cost less, and "
            "answers are so much older.",
        ),
    ] = 0,
    on_reset: Annotated[
        OnReset,
        typer.Option(
            help="When messages are gone that were not fed, as of a topic that was recreated or trimmed: "
            "continue with what is there, or stop feeding the topic. `timeline get` shows the gap.",
        ),
    ] = OnReset.resume,
) -> None:
    """Read events from Pulsar and signal them to the event-processor workers of the registered metrics.

    Finds Temporal by TEMPORAL_ADDRESS and Pulsar by TIMELINE_PULSAR_URL, and without them the servers that
    `timeline dev` runs. SIGTERM and Ctrl-C finish the batch in hand first.

    Exit codes: 0 stopped as asked, 1 failed, 2 wrong usage, 4 a server cannot be reached, 6 out of memory.
    """
    code: int
    try:
        refuse_bytes(sys.argv[1:])
        only = tuple(sorted(set(metric or ())))
        name = subscription or (SUBSCRIPTION if not only else f"{SUBSCRIPTION}-{_digest(only)}")
        configure_logging("feeder", LogSettings.from_env().log_level)
        watch_for_memory_errors(_NO_MEMORY)
        begins = None if begin is None else Begin.parse(begin)
        with ending_without_memory(_NO_MEMORY):
            code = asyncio.run(_run(only, name, batch, (wait_ms, gather_ms), begins, on_reset))
    except BeginError as error:
        typer.echo(f"error: {error}", err=True)
        code = ExitCode.USAGE
    except TimelineError as error:
        typer.echo(f"error: {error}", err=True)
        code = exit_code(error)
    except Exception:
        # Whatever it was, the process must end: threads of the client libraries would keep it alive.
        traceback.print_exc()
        code = ExitCode.FAILED
    leave(code)


def _digest(names: tuple[str, ...]) -> str:
    return hashlib.sha256("\n".join(names).encode()).hexdigest()[:10]


async def _run(
    only: tuple[str, ...],
    subscription: str,
    batch: int,
    waits: tuple[int, int],
    begin: Begin | None,
    on_reset: OnReset,
) -> int:
    url = pulsar_url()
    await asyncio.to_thread(lambda: connect_pulsar(url).close())  # a wrong address ends the program
    temporal = await connect_temporal()
    catalog = Catalog(temporal, only)
    leaves = Leaves(TemporalLeafWorkers(temporal), catalog.needs, catalog.workers)
    history = await open_tees()
    counts: dict[str, Counts] = {}
    gaps: dict[str, Gaps] = {}
    async with stop_signals() as stop, turn(url, subscription, stop) as mine:
        if not mine:
            return ExitCode.OK
        collect_seldom()
        log.info(
            "feeder started",
            pulsar=url,
            temporal=temporal.service_client.config.target_host,
            history=history.shown,
        )
        beside = [
            asyncio.create_task(report(counts, leaves, stop), name="reporting"),
            asyncio.create_task(Repair(temporal, catalog).go_on(stop), name="checking the workers"),
            asyncio.create_task(Retention(catalog.registered).go_on(stop), name="forgetting old history"),
            asyncio.create_task(watch_headroom(_NO_MEMORY), name="watching the memory"),
        ]

        async def feeder(topic: str) -> TopicFeeder:
            source = await asyncio.to_thread(connect_source, url, topic, subscription)
            return TopicFeeder(
                source,
                catalog,
                leaves,
                gaps.setdefault(topic, Gaps()),
                counts.setdefault(topic, Counts()),
                batch_messages=batch,
                batch_wait_ms=waits[0],
                gather_ms=waits[1],
                begin=begin,
                on_reset=on_reset,
                tee=lambda run: history.tee(source, run, at_once=batch, begin=begin),
            )

        try:
            failed = await _feed_topics(catalog, feeder, stop, beside)
        finally:
            stop.set()
            for task in beside[1:]:  # the last report is still made
                task.cancel()
            await asyncio.wait(beside)
            await history.close()
    totals = summary(counts.values(), leaves.signals, 0.0)
    log.info("feeder stopped", **totals, **reasons(counts.values()))
    return ExitCode.FAILED if failed else ExitCode.OK


def _told(error: Exception) -> str:
    return "; ".join(map(_told, error.exceptions)) if isinstance(error, ExceptionGroup) else str(error)


async def _feed_topics(
    catalog: Catalog, make: Make, stop: asyncio.Event, beside: Sequence[asyncio.Task[None]] = ()
) -> bool:
    """Keep one task per topic that a registered metric reads, until ``stop``; True when the work in hand
    was left.

    No task ends unseen, nor one of those that run ``beside``: what made it fail is raised, so that the
    process ends, to be started again; and a topic's that only ended is started again.
    """
    running: dict[str, asyncio.Task[None]] = {}
    stopped = asyncio.create_task(stop.wait())
    try:
        while not stop.is_set():
            refresh = asyncio.create_task(persist("reading the catalog", catalog.refresh))
            await asyncio.wait([refresh, stopped], return_when=asyncio.FIRST_COMPLETED)
            if not refresh.done():
                refresh.cancel()
                break
            refresh.result()
            for topic in catalog.topics:
                task = running.get(topic)
                if task is None or task.done():
                    if task is not None and task.cancelled():
                        log.error("feeding the topic was cancelled by nobody; restarting it", topic=topic)
                    elif task is not None and (error := task.exception()) is not None:
                        raise error
                    running[topic] = asyncio.create_task(_feed_topic(topic, make, stop))
            await asyncio.wait(
                [stopped, *running.values(), *beside],
                timeout=DISCOVERY_SECONDS,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if ended := [task for task in beside if task.done() and not stop.is_set()]:
                ended[0].result()
                raise TimelineError(f"{ended[0].get_name()} has ended, and nothing does it any more")
    finally:
        stopped.cancel()
        left: set[asyncio.Task[None]] = set()
        if running:
            stop.set()
            _, left = await asyncio.wait(running.values(), timeout=GRACE_SECONDS)
            for task in left:
                # Not acknowledged, so nothing is lost: the broker delivers it again.
                task.cancel()
            if left:
                log.warning("shutdown timed out with a batch in flight; the broker redelivers it")
    return bool(left)


async def _feed_topic(topic: str, make: Make, stop: asyncio.Event) -> None:
    """Feed one topic, subscribing again when the broker went away."""
    silent_until = 0.0
    while not stop.is_set():
        pause = RESUBSCRIBE_SECONDS
        try:
            # Before anything waits for what cannot end without memory either.
            with ending_without_memory(_NO_MEMORY):
                feeder = await make(topic)
                await feeder.run(stop)
            return
        except NeverReturnedError:
            raise  # nothing that is tried again in this process will
        except ConnectionFailedError as error:
            if monotonic() >= silent_until:
                silent_until = monotonic() + SAY_AGAIN_SECONDS
                log.warning("broker does not answer; retrying", topic=topic, error=str(error))
        except (GapError, TopicChangedError, DisconnectedError, LeafLostError) as error:
            log.info("resubscribing", topic=topic, reason=str(error))
            pause = GAP_SECONDS
        except TopicResetError as error:
            log.warning("topic was recreated; resubscribing", topic=topic, reason=str(error))
            pause = GAP_SECONDS
        except StoppedError as error:
            log.error(
                "messages are missing; not feeding the topic until restarted with --on-reset continue",
                topic=topic,
                gap=str(error),
            )
        except TimelineError as error:
            log.error("cannot feed the topic; retrying", topic=topic, error=str(error))
        except SourceError as error:
            log.warning("broker error; resubscribing", topic=topic, error=str(error))
        except (RPCError, ExceptionGroup) as error:
            if isinstance(error, ExceptionGroup) and error.subgroup(LeafLostError) is not None:
                pause = GAP_SECONDS
            log.warning(
                "delivery failed; resuming from the last acknowledged message",
                topic=topic,
                error=_told(error),
            )
        try:
            await asyncio.wait_for(stop.wait(), pause)
        except TimeoutError:
            continue
