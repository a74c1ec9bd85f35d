"""``python -m tests.chaos.questions``: questions without a pause while worker processes are killed.

A metric of 36 workers (12 partitions, three nodes) in two processes, of which one is killed with -9 every
16 to 60 seconds and started again. Meanwhile each leaf is sent an event now and then, each worker is asked
once a second, by the client, and one after the other by ``temporal workflow query``. At the end no worker may
be wedged, and every answer must be that of evaluation in process and of the oracle.

With ``--report FILE`` the run can be interrupted and resumed: the same call goes on where it was, with the
data beside FILE. Exit code 0 when all was well, 1 when not, 2 when it was interrupted.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path
from time import monotonic
from typing import Annotated, Any

import typer
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowQueryFailedError
from temporalio.service import RPCError

import timeline_workers
from feeder.delivery.retry import persist
from tests.chaos.expected import value_at
from tests.oracle import oracle
from tests.oracle.events import Event
from tests.properties.batches import batch_of
from timeline_workers.algebra.leaf_input import LeafRouter, Progress
from timeline_workers.errors import TimelineError
from timeline_workers.language.parser import parse
from timeline_workers.metric.model import Metric, Source
from timeline_workers.plan.physical import Plan, WorkerSpec, all_workers, partition_of, plan
from timeline_workers.process.exit import leave, stop_signals
from timeline_workers.servers.embedded.embedded_servers import embedded
from timeline_workers.servers.temporal.temporal_client import connect
from timeline_workers.wire.leaf_batch import encode_leaf_batch
from workflows.client import ask
from workflows.client.start import ensure_workers, wait_until_ready

SECOND = 1_000_000
EXPRESSION = 'duration_where(latest_event_to_state(s) == "x")'
PARTITIONS = 12
KEYS = 5  # of each partition
EVENTS_A_SECOND = 0.7  # and leaf
KILLS = (16.0, 60.0)  # seconds between two
NO_ANSWER_YET = (RPCError, WorkflowQueryFailedError, TimelineError, TimeoutError)
DRAIN_SECONDS = 180.0
ASK_SECONDS = 40.0
UNANSWERED = 20  # questions to one worker at a time
SAY_SECONDS = 10.0
MOST_DIFFERENCES = 50
# No feeder runs that would say that it has read the past, so leaves count as lagging.
_NOT_COMPARED = ("final", "health")


@dataclass
class Report:
    """What a run has done so far, and what was found at its end."""

    seed: int
    seconds: float
    hand_over: int | None
    elapsed: float = 0.0
    resumed: int = 0
    kills: int = 0
    asked: int = 0
    answered: int = 0
    unanswered: dict[str, int] = field(default_factory=dict)
    cli_asked: int = 0
    cli_answered: int = 0
    events: int = 0
    runs: int = 0
    wedged: dict[str, str] = field(default_factory=dict)
    behind: list[str] = field(default_factory=list)
    compared: int = 0
    differences: list[str] = field(default_factory=list)
    done: bool = False

    def failed(self, why: str) -> None:
        self.unanswered[why] = self.unanswered.get(why, 0) + 1

    @property
    def right(self) -> bool:
        return self.done and self.compared > 0 and not (self.wedged or self.behind or self.differences)


class Events:
    """The events of each partition, drawn from the seed: a number's is the same whenever it is asked for."""

    def __init__(self, metric: Metric, seed: int) -> None:
        self._seed = seed
        names = (f"k{i}" for i in range(100_000))
        self._keys: dict[str, list[str]] = {}
        for name in names:
            keys = self._keys.setdefault(partition_of(name, metric.source), [])
            if len(keys) < KEYS:
                keys.append(name)
            if len(self._keys) == PARTITIONS and all(len(k) == KEYS for k in self._keys.values()):
                break

    def event(self, partition: str, number: int) -> Event:
        draw = random.Random(f"{self._seed}/{partition}/{number}")
        time = number * SECOND - draw.randrange(3) * SECOND  # some out of order
        return Event(
            key=draw.choice(self._keys[partition]),
            time=time,
            columns={"s": draw.choice("xy")},
            position=(0, number, 0),
        )


class Scene:
    """One run: its processes, what feeds and asks, and its report."""

    def __init__(self, client: Client, address: str, report: Report, log: Path) -> None:
        self.client = client
        self.address = address
        self.report = report
        source = {"topic": f"t{report.seed}", "key": "k", "time": "t", "time_unit": "us"}
        self.metric = Metric(
            name="questions",
            source=Source.model_validate({**source, "partitions": PARTITIONS}),
            expression=EXPRESSION,
        )
        self.plan: Plan = plan(self.metric)
        self.specs = list(all_workers(self.plan))
        self.leaves = [spec for spec in self.specs if spec.node.is_leaf]
        self.events = Events(self.metric, report.seed)
        self.sent: dict[str, int] = {}
        self._log = log
        self._draw = random.Random(f"{report.seed}/kills/{report.resumed}")
        self._processes: list[asyncio.subprocess.Process] = []

    # Processes.

    async def _spawn(self) -> asyncio.subprocess.Process:
        with self._log.open("ab") as log:
            return await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "timeline_workers", "worker", "--address", self.address),
                stdout=log,
                stderr=log,
            )

    @contextlib.asynccontextmanager
    async def processes(self) -> AsyncIterator[None]:
        """Two worker processes run; none is left afterwards."""
        try:
            for _ in range(2):
                self._processes.append(await self._spawn())
            yield
        finally:
            for process in self._processes:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()

    async def kill(self) -> None:
        """Kill one of the processes now and then, and start another in its place."""
        while True:
            await asyncio.sleep(self._draw.uniform(*KILLS))
            place = self._draw.randrange(2)
            self._processes[place].kill()
            await self._processes[place].wait()
            self.report.kills += 1
            self._processes[place] = await self._spawn()

    # Load.

    async def begin(self) -> None:
        """Have the workers running, and find out how far the leaves are."""
        after = self.report.hand_over
        await ensure_workers(self.client, self.specs, metrics=["questions"], continue_as_new_after=after)
        workers = [spec.worker_id for spec in self.specs]
        async with asyncio.timeout(DRAIN_SECONDS):
            await persist("waiting for the workers", lambda: wait_until_ready(self.client, workers))
            for spec in self.leaves:
                self.sent[spec.partition] = await self._applied(spec)

    async def _applied(self, spec: WorkerSpec) -> int:
        """The number of the last event that the worker has taken."""
        status = await ask.ask_worker(self.client, spec.worker_id, "status")
        return max((part["major"] for part in status["state"]["progress"]), default=0)

    async def feed(self, leaf: WorkerSpec) -> None:
        """Send a leaf events, one after the other."""
        draw = random.Random()
        while True:
            await asyncio.sleep(draw.expovariate(EVENTS_A_SECOND))
            self.sent[leaf.partition] += 1
            await self._send_last(leaf)
            self.report.events += 1

    async def _send_last(self, leaf: WorkerSpec) -> None:
        """Send the last event, until Temporal takes it; to send it once more changes nothing."""
        number = self.sent[leaf.partition]
        if not number:
            return
        event = self.events.event(leaf.partition, number)
        progress = (Progress(0, number, 0, (number - 3) * SECOND),)
        router = LeafRouter(parse(leaf.node.expression))
        payload = encode_leaf_batch(router.batch(batch_of([event]), progress))
        handle = self.client.get_workflow_handle(leaf.worker_id)
        while True:
            try:
                await handle.signal("ingest", payload, rpc_timeout=timedelta(seconds=10))
            except RPCError:
                await asyncio.sleep(0.5)
            else:
                return

    async def ask(self, worker: str) -> None:
        """Ask a worker once a second, whether it has answered the last time or not."""
        draw = random.Random()
        waiting: set[asyncio.Task[None]] = set()
        try:
            while True:
                await asyncio.sleep(draw.expovariate(1.0))
                if len(waiting) < UNANSWERED:
                    task = asyncio.create_task(self._ask(worker))
                    waiting.add(task)
                    task.add_done_callback(waiting.discard)
        finally:
            for task in list(waiting):
                task.cancel()

    async def _ask(self, worker: str) -> None:
        self.report.asked += 1
        try:
            await self.client.get_workflow_handle(worker).query(
                "status", rpc_timeout=timedelta(seconds=ASK_SECONDS)
            )
        except (RPCError, WorkflowQueryFailedError) as error:
            self.report.failed(str(error)[:100])
        else:
            self.report.answered += 1

    async def ask_by_cli(self) -> None:
        """``temporal workflow query``, one worker after the other."""
        temporal = shutil.which("temporal")
        assert temporal is not None
        command = [temporal, "workflow", "query", "--address", self.address, "--type", "status"]
        draw = random.Random()
        while True:
            worker = draw.choice(self.specs).worker_id
            self.report.cli_asked += 1
            process = await asyncio.create_subprocess_exec(
                *(*command, "--workflow-id", worker),
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
            )
            try:
                async with asyncio.timeout(ASK_SECONDS):
                    code = await process.wait()
            except TimeoutError:
                process.kill()
                code = await process.wait()
            except BaseException:
                process.kill()
                await process.wait()
                raise
            self.report.cli_answered += code == 0

    # The end.

    async def settle(self) -> None:
        """Wait until every worker has taken every event; name those that do not, and the wedged ones."""
        pending = {spec.worker_id: spec for spec in self.specs}
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_SECONDS):
                for leaf in self.leaves:
                    await self._send_last(leaf)  # the load may have been stopped over it
                while pending:
                    for worker, spec in list(pending.items()):
                        with contextlib.suppress(*NO_ANSWER_YET):
                            async with asyncio.timeout(5):
                                if await self._applied(spec) >= self.sent[spec.partition]:
                                    del pending[worker]
                    await asyncio.sleep(0.2)
        self.report.behind = sorted(pending)
        for spec in self.specs:
            if failing := await self._failing(spec.worker_id):
                self.report.wedged[spec.worker_id] = failing

    async def _failing(self, worker: str) -> str:
        handle = self.client.get_workflow_handle(worker)
        described = await handle.describe()
        attempt = described.raw_description.pending_workflow_task.attempt
        if attempt < 3:
            return ""
        history = await handle.fetch_history()
        failures = [
            e.workflow_task_failed_event_attributes.failure.message
            for e in history.events
            if e.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED
        ]
        return f"attempt {attempt}: {failures[-1][:200] if failures else 'not finished in time'}"

    async def compare(self) -> None:
        """Hold the answers of every node against evaluation in process and the oracle."""
        events = {
            partition: [self.events.event(partition, number) for number in range(1, sent + 1)]
            for partition, sent in self.sent.items()
        }
        end = (max(self.sent.values()) + 10) * SECOND
        rows = [{"k": e.key, "t": e.time, **e.columns} for some in events.values() for e in some]
        at = sorted({round(end * i / 20) for i in range(1, 21)})
        for node in self.plan.nodes:
            tree = parse(node.expression)
            right = timeline_workers.evaluate(node.expression, rows, key="k", time="t", time_unit="us")
            # Partition by partition: positions are of one.
            truth = {k: t for some in events.values() for k, t in oracle.timelines(tree, some).items()}
            question = {"at": at, "unit": "us"}
            async with asyncio.timeout(DRAIN_SECONDS):
                answers = [a async for a in ask.ask(self.client, self.plan, node, "value_at", [question])]
            self.report.compared += len(answers)
            if len(answers) != len(at) * len(truth):
                self.report.differences.append(
                    f"{node.name}: {len(answers)} answers for {len(truth)} keys at {len(at)} instants"
                )
            for answer in answers:
                key, instant = answer["key"], answer["at"]
                expected = right.value_at(key, instant).model_dump()
                of_oracle = value_at(truth[key], node.kind, key, instant, None)
                got, evaluated, true = (
                    {name: a[name] for name in a if name not in _NOT_COMPARED}
                    for a in (answer, expected, of_oracle)
                )
                if not got == evaluated == true and len(self.report.differences) < MOST_DIFFERENCES:
                    self.report.differences.append(
                        f"{node.name}: {got}, by evaluation {evaluated}, by the oracle {true}"
                    )
        for spec in self.specs:
            status: dict[str, Any] = await ask.ask_worker(self.client, spec.worker_id, "status")
            self.report.runs += status["runs"]
            if status["refused"]:
                self.report.differences.append(f"{spec.worker_id} refused: {status['last_refusal']}")


def _keep(report: Report, file: Path | None) -> None:
    if file is not None:
        part = file.with_name(f"{file.name}.part")
        part.write_text(json.dumps(asdict(report), indent=2) + "\n")
        part.replace(file)


async def _run(report: Report, data: Path, file: Path | None) -> Report:
    with embedded(data, temporal_port=0, ui_port=0, pulsar_port=0) as addresses:
        os.environ["TEMPORAL_ADDRESS"] = addresses.temporal
        client = await connect()
        scene = Scene(client, addresses.temporal, report, data / "workers.log")
        async with scene.processes(), stop_signals() as stop:
            await scene.begin()
            load = [
                scene.kill(),
                scene.ask_by_cli(),
                *(scene.feed(leaf) for leaf in scene.leaves),
                *(scene.ask(spec.worker_id) for spec in scene.specs),
            ]
            running = [asyncio.create_task(part) for part in load]
            began, before = monotonic(), report.elapsed
            while report.elapsed < report.seconds and not stop.is_set():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), min(SAY_SECONDS, report.seconds - report.elapsed))
                report.elapsed = before + monotonic() - began
                _say(report)
                _keep(report, file)
                if ended := [task for task in running if task.done()]:
                    ended[0].result()
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            if stop.is_set():
                return report
            await scene.settle()
            if not report.behind:
                await scene.compare()
            report.done = True
    _keep(report, file)
    return report


def _say(report: Report) -> None:
    typer.echo(
        f"{report.elapsed:6.0f} s of {report.seconds:.0f}: {report.events} events, {report.kills} kills, "
        f"{report.answered} of {report.asked} questions answered, {report.cli_answered} of "
        f"{report.cli_asked} by temporal",
        err=True,
    )


def _begun(file: Path | None, seed: int | None, seconds: float, hand_over: int | None) -> Report:
    if file is not None and file.exists():
        report = Report(**json.loads(file.read_text()))
        given: Sequence[tuple[str, Any, Any]] = (
            ("--seed", seed, report.seed),
            ("--hand-over", hand_over, report.hand_over),
        )
        for name, wanted, had in given:
            if wanted is not None and wanted != had:
                raise typer.BadParameter(f"{file} is of a run with {name} {had}; name another file")
        if not report.done:
            report.resumed += 1
            report.seconds = seconds
        return report
    return Report(random.randrange(2**31) if seed is None else seed, seconds, hand_over)


def main(
    seed: Annotated[int | None, typer.Option(help="Draws events and kills.", show_default="any")] = None,
    seconds: Annotated[float, typer.Option(min=5, help="How long to feed, ask and kill.")] = 300.0,
    hand_over: Annotated[
        int | None,
        typer.Option(help="Inputs after which a worker continues as new.", show_default="Temporal says"),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(help="File for the report as JSON, kept while it runs; an unfinished one is resumed."),
    ] = None,
) -> None:
    """Ask every worker each second while worker processes are killed, and hold the answers against the
    oracle.
    """
    made = _begun(report, seed, seconds, hand_over)
    if not made.done:
        typer.echo(f"seed {made.seed}, hand-over {made.hand_over}, resumed {made.resumed} times", err=True)
        if report is None:
            with tempfile.TemporaryDirectory() as directory:
                asyncio.run(_run(made, Path(directory), None))
        else:
            asyncio.run(_run(made, report.with_name(f"{report.name}.data"), report))
    typer.echo(json.dumps(asdict(made), indent=2))
    leave(0 if made.right else 1 if made.done else 2)


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    app()
