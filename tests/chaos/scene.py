"""A scene: faults of one kind, one after the other, on a system that is otherwise well.

``Scene`` and its ``Act``s say what is done and what may come of it; ``Course`` is the running system that
they do it to. A scene is one file in ``tests/chaos/scenes``.
"""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from time import monotonic
from typing import Literal

from temporalio.client import Client

from tests.chaos.judging import Message as Stored, Place
from tests.chaos.metrics import metrics
from tests.chaos.producer import Sender, paused_file
from tests.chaos.programs import Program, module
from tests.chaos.recording import Recorded, StoreName
from tests.chaos.stacks import TOPIC, Stack, stack_of
from tests.chaos.traffic import EPOCH, Message, still, traffic
from tests.chaos.watching import Watch
from timeline_workers.metric.model import Metric
from timeline_workers.plan.physical import (
    Plan,
    all_workers,
    is_global,
    partition_labels,
    worker_id,
    worker_name,
)
from workflows.archive.archive_activities import archive_id
from workflows.client import ask
from workflows.messages import CATALOG_ID

LOOK_SECONDS = 0.1
# Enough that a stream of a scene never ends by itself.
_MANY = 100_000_000

StackName = Literal["embedded", "pulsar", "cluster"]


class SceneError(RuntimeError):
    """A scene could not be played: the message says what did not come about."""


@dataclass
class Stream(Program):
    """A producer of ``rate`` events a second since ``began``, after ``rush`` at once; ``places``: its file of
    confirmed messages.
    """

    rate: float = 0.0
    rush: int = 0
    began: float = 0.0
    places: Path = Path()

    @property
    def stored(self) -> int:
        """How many of its messages are confirmed."""
        return self.places.read_bytes().count(b"\n") if self.places.exists() else 0


@dataclass
class Course:
    """The system that a scene is played on, and what its acts may use.

    ``plans``: what is applied; ``places``: the files of confirmed messages; ``kept``: messages that were
    stored, and that an act has had deleted; ``lost``: those of all messages that answers may lack;
    ``forgotten``: per metric, keys that it may not know any more; ``recorded``: its history, if it has one.
    """

    stack: Stack
    client: Client
    plans: list[Plan]
    seed: int
    hand_over: int | None
    watch: Watch
    tell: Callable[[str], object]
    places: list[Path]
    partitions: int
    streams: list[Stream] = field(default_factory=list)
    kept: dict[Place, Stored] = field(default_factory=dict)
    lost: set[Place] = field(default_factory=set)
    forgotten: dict[str, set[tuple[type, str | int]]] = field(default_factory=dict)
    recorded: Recorded | None = None

    def planned(self, metric: str) -> Plan:
        """The plan of ``metric``, without its prefix "chaos-"."""
        return next(p for p in self.plans if p.metric.name == f"chaos-{metric}")

    def workers_of(self, planned: Plan) -> list[str]:
        """The ids of all workers of a plan."""
        return [spec.worker_id for spec in all_workers(planned)]

    @property
    def event_time(self) -> float:
        """How far the first stream may have come by now: seconds of event time since it began."""
        first = self.streams[0]
        sent = first.rush + round((monotonic() - first.began) * first.rate)
        return next(islice(traffic(self.seed, sent + 1), sent, None)).at - EPOCH

    def leaf(self, metric: str = "cirr") -> str:
        """The id of a leaf of the metric."""
        planned = self.planned(metric)
        node = next(node for node in planned.nodes if node.is_leaf)
        return worker_id(worker_name(planned, node), partition_labels(planned)[0])

    def derived(self, metric: str = "cirr") -> str:
        """The id of a worker between leaf and result."""
        planned = self.planned(metric)
        node = next(n for n in planned.nodes if not n.is_leaf and n is not planned.result)
        return worker_id(worker_name(planned, node), partition_labels(planned)[0])

    def result(self, metric: str = "cirr") -> str:
        """The id of a worker that answers for the metric."""
        planned = self.planned(metric)
        name = worker_name(planned, planned.result)
        return worker_id(name, "all" if is_global(planned.result) else partition_labels(planned)[0])

    def of_kind(self, kind: str) -> str:
        """The id of a workflow of each kind that there is, but the driver."""
        match kind:
            case "fused":
                return self.result("cirr-fused")
            case "aggregate":
                return self.result("by-cdn")
            case "archive":
                return archive_id(self.result("counts"), 0)
            case "catalog":
                return CATALOG_ID
            case "leaf":
                return self.leaf()
            case "derived":
                return self.derived()
            case "result":
                return self.result()
        raise SceneError(f"there is no workflow of kind {kind!r}")

    async def stream(
        self,
        rate: float,
        *,
        count: int | None = None,
        rush: int = 0,
        later: float = 0.0,
        environment: Mapping[str, str] | None = None,
        stands: bool = False,
    ) -> Stream:
        """Start a producer of its own at ``rate`` events a second, of ``count`` or without end, ``rush``
        of them at once; ``stands``: event time stands still.
        """
        number = len(self.streams)
        file = self.stack.directory / f"places-{number}"
        events = _MANY if count is None else count
        command = [
            *module("tests.chaos.producer"), TOPIC, str(file), "--seed", str(self.seed + number),
            "--events", str(events), "--seconds", str(events / rate), "--steady", "--later", str(later),
            "--rush", str(rush),
            *(["--still"] if stands else []), "--end" if number == 0 else "--no-end",
        ]  # fmt: skip
        made = self.stack.program(f"producer-{number}", command)
        settings = {**made.environment, **(environment or {})}
        stream = Stream(
            made.name, command, made.log, settings,
            rate=rate, rush=rush, began=monotonic(), places=file,
        )  # fmt: skip
        self.places.append(file)
        self.streams.append(stream)
        stream.start()
        return stream

    async def finished(self, stream: Stream, within: float = 60.0) -> None:
        """Return when a stream of so many events is stored."""
        await self.until(lambda: not stream.running, f"{stream.name} has sent everything", within)

    async def pause(self, stream: Stream) -> None:
        """Have a stream send nothing until ``resume``; returns when everything that it has sent is stored."""
        # It makes its file when it is ready for signals.
        await self.until(stream.places.exists, f"{stream.name} has begun")
        stream.signal(signal.SIGUSR1)
        await self.until(
            paused_file(stream.places).exists, f"everything that {stream.name} has sent is stored"
        )
        stream.freeze()  # nor may its client library do anything, such as make a topic that is deleted

    def resume(self, stream: Stream) -> None:
        """Have a stream go on that pauses."""
        stream.thaw()
        stream.signal(signal.SIGUSR2)

    async def send(self, messages: Sequence[Message]) -> None:
        """Send these messages, and return when they are stored."""
        file = self.stack.directory / f"places-{len(self.places)}-sent"
        self.places.append(file)

        def send() -> None:
            with file.open("a", buffering=1) as lines:
                sender = Sender(TOPIC, lines)
                for message in messages:
                    sender.send(message)
                sender.finish()
                sender.close()
                if sender.confirmed.refusals:
                    raise SceneError(f"the broker refused messages: {sender.confirmed.refusals[:3]}")

        await asyncio.to_thread(send)

    async def burst(self, count: int) -> None:
        """Send so many events at once."""
        await self.send(list(still(self.seed + len(self.places), count, self.event_time)))

    async def apply(self) -> None:
        """`timeline apply` of every metric, as an operator does who wants back what is missing."""
        for planned in self.plans:
            await ask.apply(self.client, planned.metric, continue_as_new_after=self.hand_over)

    async def until(
        self, fact: Callable[[], bool | Awaitable[bool]], what: str, within: float = 60.0
    ) -> float:
        """Wait for ``fact``; returns the seconds that it took, raises SceneError after ``within``."""
        begun = monotonic()
        while True:
            found = fact()
            if found if isinstance(found, bool) else await found:
                return monotonic() - begun
            if monotonic() - begun > within:
                raise SceneError(f"not after {within:.0f} s: {what}")
            await asyncio.sleep(LOOK_SECONDS)

    def log(self, *names: str) -> str:
        """The logs of the programs whose names begin with one of ``names``."""
        files = sorted((self.stack.directory / "logs").glob("*.log"))
        chosen = [f for f in files if f.stem.startswith(names)]
        return "\n".join(f.read_text(errors="replace") for f in chosen)


Step = Callable[[Course], Awaitable[None]]


async def nothing(_: Course) -> None:
    """For acts that heal by themselves."""


def few(topic: str) -> list[Metric]:
    """The metrics of a run, in one partition each."""
    return metrics(topic, 1)


@dataclass(frozen=True)
class Act:
    """One fault. ``fault``, ``operator``, ``lost``: for people, what happens, what to do, what is lost.

    ``inflict`` it, leave it for ``hold`` seconds, and ``heal`` it as an operator would; after at most
    ``within`` seconds more every stored message is applied. ``ends``: what `get` may say afterwards:
    other than ok only where it says for good that something is lost.
    """

    name: str
    fault: str
    inflict: Step
    heal: Step = nothing
    operator: str = "nothing"
    lost: str = "nothing"
    hold: float = 12.0
    within: float = 150.0
    ends: frozenset[str] = frozenset({"ok"})


@dataclass(frozen=True)
class Scene:
    """Acts on one stack, with a stream of ``rate`` events a second in the background, ``rush`` of them at
    once: so that event time is far enough on for windows to pass, and for idle keys to leave for archives.

    ``metrics``: of a topic; ``hand_over``: after so many inputs a worker continues as new; ``settings``: of
    the environment of all programs; ``history``: in which kind of store, if in any; ``letters_stay``: dead
    letters outlive the fault; ``counts``: workers' counts of late and refused events are right in the end;
    ``everybody``: every worker is asked for its status each second; ``may_miss_confirmed``: the broker may
    lack what it has confirmed; ``prepare``: before the servers are started, in their directory, and
    ``clean_up`` when they are stopped.
    """

    name: str
    about: str
    acts: Sequence[Act]
    stack: StackName = "embedded"
    rate: float = 10.0
    rush: int = 1_500
    metrics: Callable[[str], list[Metric]] = few
    hand_over: int | None = 50
    workers: int = 2
    feeders: int = 1
    settings: Mapping[str, str] = field(default_factory=dict)
    history: StoreName | None = None
    counts: bool = True
    letters_stay: bool = True
    everybody: bool = False
    may_miss_confirmed: bool = False
    set_up: Step = nothing
    prepare: Callable[[Stack], None] = lambda _: None
    clean_up: Callable[[Stack], None] = lambda _: None

    def on(self, directory: Path) -> AbstractAsyncContextManager[Stack]:
        """The servers that it is played on, their data in ``directory``."""
        real = self.stack != "embedded"
        return stack_of(
            directory, real_broker=real, cluster=self.stack == "cluster", partitions=4 if real else 1
        )


def log_events(text: str) -> list[str]:
    """The messages of warnings and errors in a log of ours, without what differs from line to line."""
    found: dict[str, None] = {}
    for line in text.splitlines():
        said = _said(line)
        if said is not None:
            found.setdefault(said)
    return list(found)


def _said(line: str) -> str | None:
    if line.startswith("{"):
        try:
            entry = json.loads(line)
        except ValueError:
            return None
        if not isinstance(entry, dict) or entry.get("level") not in ("warning", "error", "critical"):
            return None
        return str(entry.get("event"))
    for level in ("[warning", "[error", "[critical"):
        if level in line:
            words = line.partition(level)[2].partition("]")[2].strip()
            return words.partition("  ")[0].strip()[:160]
    return f"{line[:160]}" if line.startswith("error: ") else None
