"""Questions during the load: what a person at a dashboard would see while processes come and go.

Every question must be answered within ``PATIENCE`` seconds, trying again as a client does. One that is not is
excused only if something that it needs had been killed and had not been up again for ``GRACE`` seconds at
some time while it was asked. What an answer calls final is kept, and held against the truth in the end.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from temporalio.client import Client

from tests.chaos.programs import Program
from tests.chaos.traffic import EPOCH
from timeline_workers.errors import TimelineError
from timeline_workers.plan.physical import Plan, partition_labels, worker_id, worker_name
from workflows.client.ask_keys import ask_key
from workflows.client.ask_worker import ask_worker

PATIENCE = 30.0
GRACE = 15.0
ATTEMPT = 10.0
EVERY = 0.05
AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Final:
    """An answer that was called final when it was given."""

    metric: str
    answer: dict[str, Any]


@dataclass(slots=True)
class Asked:
    """What became of the questions. ``waits``: seconds until each answer, and of these ``calm`` while nothing
    was away; ``excused`` and ``failed``: (from, to, what).
    """

    answered: int = 0
    values: int = 0
    attempts: int = 0
    waits: list[float] = field(default_factory=list)
    calm: list[float] = field(default_factory=list)
    finals: list[Final] = field(default_factory=list)
    excused: list[tuple[float, float, str]] = field(default_factory=list)
    failed: list[tuple[float, float, str]] = field(default_factory=list)

    @property
    def count(self) -> int:
        """All questions."""
        return self.answered + len(self.excused) + len(self.failed)


class Asker:
    """Asks until told to stop.

    ``span``: seconds of event time in the load; ``needed``: the programs without which no question can be
    answered; of the ``workers`` one is enough; ``later``: when event time begins (see ``traffic``).
    """

    def __init__(
        self,
        client: Client,
        plans: Sequence[Plan],
        span: float,
        seed: int,
        needed: Sequence[Program],
        workers: Sequence[Program],
        later: float = 0.0,
    ) -> None:
        self.asked = Asked()
        self._client, self._plans, self._span = client, plans, span
        self._keys: dict[str, list[str | int]] = {}
        self._rng = random.Random(f"questions {seed}")
        self._needed, self._workers = needed, workers
        self._begin = EPOCH + later

    async def run(self, stop: asyncio.Event, progress: Callable[[], float]) -> None:
        """Ask; ``progress``: the share of the load that is sent. Returns when the last has its outcome."""
        slots = asyncio.Semaphore(AT_ONCE)
        asking: set[asyncio.Task[None]] = set()
        while not stop.is_set():
            await slots.acquire()
            task = asyncio.create_task(self._one(progress()))
            asking.add(task)
            task.add_done_callback(asking.discard)
            task.add_done_callback(lambda _: slots.release())
            await asyncio.sleep(EVERY)
        if asking:
            await asyncio.gather(*asking)

    async def _one(self, share: float) -> None:
        planned = self._rng.choice(self._plans)
        label = self._rng.choice(partition_labels(planned))
        worker = worker_id(worker_name(planned, planned.result), label)
        known = self._keys.get(worker)
        if not known or self._rng.random() < 0.05:
            query = "keys"
            question: dict[str, Any] = {"after": 0, "limit": 10_000}
        else:
            # Mostly the sessions of the moment, and now and then any of the past.
            recent = known if self._rng.random() < 0.3 else known[-150:]
            now = self._begin + share * self._span
            at = round(self._rng.uniform(now - 600 - self._span / 4, now + 30)) * 1_000_000
            query = "value_at"
            question = {"key": self._rng.choice(recent), "at": at, "unit": "us"}
        answer = await self._answer(worker, query, question)
        if answer is None:
            return
        if query == "keys":
            self._keys[worker] = answer["keys"]
            return
        self.asked.values += 1
        if answer["final"]:
            self.asked.finals.append(Final(planned.metric.name, answer))

    async def _answer(self, worker: str, query: str, question: dict[str, Any]) -> Any:
        begin, error = monotonic(), "no answer"
        while monotonic() - begin < PATIENCE:
            self.asked.attempts += 1
            try:
                async with asyncio.timeout(ATTEMPT):
                    ask = ask_worker if query == "keys" else ask_key
                    answer = await ask(self._client, worker, query, question)
            except (TimelineError, TimeoutError) as failure:
                error = f"{type(failure).__name__}: {failure}"
            else:
                self.asked.answered += 1
                end = monotonic()
                self.asked.waits.append(end - begin)
                if not _meets(_spells([*self._needed, *self._workers]), begin, end):
                    self.asked.calm.append(end - begin)
                return answer
            await asyncio.sleep(0.1)
        end = monotonic()
        excused = self._down(begin, end)
        (self.asked.excused if excused else self.asked.failed).append((begin, end, f"{worker}: {error}"))
        return None

    def _down(self, begin: float, end: float) -> bool:
        alone = [_spells([program]) for program in self._needed]
        # Also where only one of several workers is away: Temporal hands over what it had only after a while,
        # but that must not take as long as a person's patience.
        together = _common([_spells([worker]) for worker in self._workers])
        return any(_meets(spells, begin, end) for spells in (*alone, together))


def _meets(spells: Iterable[tuple[float, float]], begin: float, end: float) -> bool:
    return any(low < end and begin < high for low, high in spells)


def _spells(programs: Iterable[Program]) -> list[tuple[float, float]]:
    """When these were away, each time until a while after they were back."""
    now = monotonic()
    return [
        (low, (now if high is None else high) + GRACE) for program in programs for low, high in program.downs
    ]


def _common(spells: Sequence[Sequence[tuple[float, float]]]) -> list[tuple[float, float]]:
    """When all were away at once."""
    common = list(spells[0]) if spells else []
    for others in spells[1:]:
        common = [(max(a, c), min(b, d)) for a, b in common for c, d in others if max(a, c) < min(b, d)]
    return common
