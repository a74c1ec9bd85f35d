"""The faults of a random schedule: what each does, and what an operator does afterwards.

``kill`` and ``stop`` fall on processes, the others on workflows: ended ones are applied again a few seconds
later. ``expire`` deletes every run that is closed, as the retention of a namespace does.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

from temporalio.client import Client
from temporalio.service import RPCError
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_fixed

from tests.chaos import by_hand
from tests.chaos.schedule import Kill
from tests.chaos.stacks import Stack
from timeline_workers.errors import TimelineError
from timeline_workers.plan.physical import Plan
from workflows.client import ask

KINDS = ("kill", "stop", "terminate", "cancel", "reset", "forge", "expire")
# After these, workers' counts of late and refused events need not be those of the workers beside them.
ENDING = frozenset({"terminate", "cancel"})

# Longer than what a process that is stopped has promised to answer in.
STOP_SECONDS = 12.0
OPERATOR_SECONDS = 3.0
PATIENCE = 120.0

SIGNALS = (
    "ingest", "receive", "subscribe", "unsubscribe", "resubscribe", "hold", "attach", "detach", "store",
    "no-such-signal",
)  # fmt: skip
GARBAGE: tuple[Any, ...] = (
    b"", b"\x00", b"\xff" * 64, 7, -1.5, None, [], {}, "", ["a", 1], {"subscriber": 1},
    {"subscriber": "a", "epoch": "b", "more": 1}, {"subscriber": "a", "held": "perhaps"}, "x" * 100_000,
)  # fmt: skip


async def forge(client: Client, workflow: str, rng: random.Random) -> None:
    """Every signal that there is, to one workflow, with things that it is not for."""
    handle = client.get_workflow_handle(workflow)
    for name in SIGNALS:
        # A text that is nobody's name is no garbage to who asks for a name.
        fit = [g for g in GARBAGE if not (isinstance(g, str) and name in ("attach", "detach"))]
        for payload in rng.sample(fit, 6):
            await handle.signal(name, payload)
        await handle.signal(name)
        await handle.signal(name, args=[rng.randbytes(50), rng.randbytes(5)])


class Faults:
    """Inflicts what a schedule says on ``stack``; ``plans`` are what is applied."""

    def __init__(
        self, stack: Stack, client: Client, plans: Sequence[Plan], seed: int, hand_over: int | None
    ) -> None:
        self._stack, self._client, self._plans, self._hand_over = stack, client, plans, hand_over
        self._rng = random.Random(f"faults {seed}")

    async def inflict(self, fault: Kill) -> None:
        """Inflict one; returns when what was taken away is back."""
        target = fault.target
        match fault.kind:
            case "kill":
                await self._stack.kill(target, fault.away)
            case "stop":
                await self._stop(target, STOP_SECONDS + fault.away)
            case "terminate":
                await self._until_done(lambda: by_hand.terminate(self._client, target))
                await self._applied(fault.away)
            case "cancel":
                await self._until_done(lambda: by_hand.cancel(self._client, target))
                await self._applied(fault.away)
            case "reset":
                where: by_hand.Where = "first" if self._rng.random() < 0.5 else "last"
                await self._until_done(lambda: by_hand.reset(self._client, target, where))
            case "forge":
                await self._until_done(lambda: forge(self._client, target, self._rng))
            case "expire":
                await self._until_done(lambda: by_hand.delete_closed_runs(self._client))
            case other:
                raise ValueError(f"there is no fault {other!r}; there are {', '.join(KINDS)}")

    async def _stop(self, name: str, seconds: float) -> None:
        program = self._stack.programs[name]
        program.freeze()
        try:
            await asyncio.sleep(seconds)
        finally:
            program.thaw()
        await program.up()

    async def _applied(self, away: float) -> None:
        await asyncio.sleep(OPERATOR_SECONDS + away)
        for planned in self._plans:
            await self._until_done(
                lambda p=planned: ask.apply(  # type: ignore[misc]  # mypy does not infer defaults of lambdas
                    self._client, p.metric, continue_as_new_after=self._hand_over
                )
            )

    async def _until_done(self, call: Callable[[], Awaitable[object]]) -> None:
        """Again while a server is away, or the workflow, which another fault may have ended."""
        with suppress(RPCError):
            async for attempt in AsyncRetrying(
                retry=retry_if_exception_type((RPCError, TimelineError)),
                wait=wait_fixed(0.5),
                stop=stop_after_delay(PATIENCE),
                reraise=True,
            ):
                with attempt:
                    await call()
