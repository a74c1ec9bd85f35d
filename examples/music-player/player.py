"""Players play what they were last told to: states that come from elsewhere, by dmm's words.

``python examples/music-player/player.py`` starts servers of its own and plays.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from pydantic import BaseModel

from timeline_workers.client import TimelineClient
from timeline_workers.client.reconciler_client import Reconcilers
from timeline_workers.reconcilers import Context, Level

sys.path.append(str(Path(__file__).parents[1]))


class Player(BaseModel):
    """What a player is to play."""

    song: str


class Playing(BaseModel):
    """What we believe it plays."""

    song: str | None = None


speakers: dict[str, str | None] = {}
changes: list[str] = []


async def play(context: Context[Playing], desired: Level[Player]) -> Playing:
    """Have the speaker play the song; called until it returns, with the newest song only."""
    key, song = str(context.key), desired.value.song
    if context.cache.song != song:
        await asyncio.sleep(0.2)  # a slow speaker
        speakers[key] = song
        changes.append(f"{key} plays {song}")
        if song == "duet":
            await context.notify("player/8", Player(song="duet, second voice"))
    return Playing(song=song)


async def silence(context: Context[Playing]) -> None:
    """The player is gone."""
    speakers[str(context.key)] = None
    changes.append(f"{context.key} is silent")


async def until(key: str, song: str | None) -> None:
    """Wait until a speaker plays the song."""
    while speakers.get(key, "") != song:
        await asyncio.sleep(0.02)


async def main() -> None:
    """The example, once around."""
    reconcilers = Reconcilers(await TimelineClient.connect())
    players = await reconcilers.open("players", partitions="per-key", resync="1m")
    players.register(play, input=Player, cache=Playing, finalizer=silence)
    working = asyncio.create_task(players.work())
    await players.notify("player/7", Player(song="overture"))
    await until("player/7", "overture")
    for number in range(1, 10):  # faster than the speaker: only the last counts
        await players.notify("player/7", Player(song=f"song {number}"))
    await players.notify("player/7", Player(song="duet"))
    await until("player/7", "duet")
    await until("player/8", "duet, second voice")
    await players.forget("player/7")
    await until("player/7", None)
    await players.matter("player/8")  # called, and nothing to do
    players.close()
    await working
    shown = [change for change in changes if "song" not in change]
    print("\n".join(shown))
    print(f"{len(changes) - len(shown)} of nine songs in between were played")


if __name__ == "__main__":
    from dev_servers import dev_servers

    with dev_servers():
        asyncio.run(main())
