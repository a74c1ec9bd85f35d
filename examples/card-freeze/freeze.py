"""Cards that are used where their holders are not are frozen at a bank, and thawed when late data says so.

``python examples/card-freeze/freeze.py`` starts servers of its own, sends events, and shows what the bank
has.
"""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from pathlib import Path

from pydantic import BaseModel

from timeline_workers.client import TimelineClient
from timeline_workers.client.reconciler_client import Reconcilers
from timeline_workers.reconcilers import Context, Level, reconciler

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent))


class Bank:
    """A bank that does not answer one call in three, and forgets one in ten that it has answered."""

    def __init__(self) -> None:
        self.frozen: dict[str, bool] = {}
        self.tokens: dict[str, int] = {}
        self.calls = self.failed = self.forgot = 0
        self._chance = random.Random(7)

    async def set_frozen(self, card: str, frozen: bool, fence: int) -> None:
        """Freeze or thaw a card; refused with a smaller ``fence`` than was seen before."""
        self.calls += 1
        await asyncio.sleep(0.01)
        if self._chance.random() < 1 / 3:
            self.failed += 1
            raise ConnectionError("the bank does not answer")
        if fence < self.tokens.get(card, 0):
            raise ValueError(f"card {card}: {fence} is older than {self.tokens[card]}")
        self.tokens[card] = fence
        if self._chance.random() < 1 / 10:
            self.forgot += 1
        else:
            self.frozen[card] = frozen

    async def is_frozen(self, card: str) -> bool | None:
        """Whether a card is frozen; None: nobody has said so."""
        return self.frozen.get(card)


bank = Bank()


class Card(BaseModel):
    """What we believe of the bank."""

    frozen: bool | None = None


@reconciler("freeze-card", follow="card-away", cache=Card, backoff=("100ms", "1s"), resync="2s")
async def freeze(context: Context[Card], desired: Level[bool]) -> Card:
    """Have the bank agree with the metric, also where it has forgotten what it was told."""
    card = str(context.key)
    context.observe(Card(frozen=await bank.is_frozen(card)))
    if context.cache.frozen != desired.value:
        await bank.set_frozen(card, desired.value, fence=context.token)
    return Card(frozen=desired.value)


@freeze.finalizer
async def thaw(context: Context[Card]) -> None:
    """The key leaves: undo what was done."""
    if await bank.is_frozen(str(context.key)):
        await bank.set_frozen(str(context.key), False, fence=context.token)
        if await bank.is_frozen(str(context.key)):
            raise ConnectionError("the bank has forgotten it")


async def until(expected: dict[str, bool]) -> None:
    """Wait until the bank agrees, and say so."""
    while bank.frozen != expected:
        await asyncio.sleep(0.05)
    said = ", ".join(f"{card} {'frozen' if frozen else 'open'}" for card, frozen in sorted(expected.items()))
    print(said, flush=True)


def send(events: str) -> None:
    """Send a file of events to the topic of the metric."""
    command = [sys.executable, "-m", "producer", "file", str(HERE / events), "--key", "card"]
    subprocess.run([*command, "--topic", "card-uses"], check=True, capture_output=True)


async def main() -> None:
    """The example, once around."""
    client = await TimelineClient.connect()
    await client.apply(HERE / "metric.yaml")
    stop = asyncio.Event()
    calling = asyncio.create_task(Reconcilers(client).run("freeze-card", stop=stop))
    await asyncio.to_thread(send, "events.jsonl")
    await until({"c1": True, "c2": True, "c3": False})
    await asyncio.to_thread(send, "late.jsonl")
    await until({"c1": True, "c2": False, "c3": False})
    await client.delete("card-away")
    await until({"c1": False, "c2": False, "c3": False})
    stop.set()
    await calling
    print(f"{bank.calls} calls, of which {bank.failed} failed and {bank.forgot} were forgotten")


if __name__ == "__main__":
    from dev_servers import dev_servers

    with dev_servers():
        asyncio.run(main())
