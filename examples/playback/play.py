"""Plays the result of a metric for one key, a minute of it in a second, and prints each change.

python examples/playback/play.py METRIC KEY [SERVER]
"""

from __future__ import annotations

import sys

from timeline_workers.playback import SyncDvrClient, TimelinesChannel
from timeline_workers.playback.replies import ChangesPart, Frame, Snapshot


def main(metric: str, key: str, server: str = "http://127.0.0.1:8321") -> None:
    """Print the levels at the start, and every change until the end."""
    with SyncDvrClient(server) as player:
        player.open(TimelinesChannel(channel="result", metric=metric, keys=[key]))
        player.play(0, 60, speed=60)
        for message in player.window():
            if isinstance(message, Snapshot):
                for level in message.channels["result"]:
                    print(f"at {message.at}: {level.value}, changing by {level.slope} a second")
            if isinstance(message, Frame):
                for part in message.channels.values():
                    assert isinstance(part, ChangesPart)
                    for time, _, _, value, slope in part.changes:
                        print(f"{time}: {value}, changing by {slope} a second")


if __name__ == "__main__":
    main(*sys.argv[1:])
