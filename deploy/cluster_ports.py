"""Ports for servers that are killed and come back."""

from __future__ import annotations

import random
import socket
from contextlib import ExitStack

from timeline_workers.servers.embedded.embedded_servers import HOST

# Below those that the kernel gives to outgoing connections, one of which could else take the port of a server
# that is away. (And a port of Temporal's membership must fit a signed 16-bit column of PostgreSQL.)
LOWEST, HIGHEST = 20_000, 32_000


def free_ports(count: int) -> list[int]:
    """Return ``count`` different ports of 127.0.0.1 on which nothing listens."""
    chosen: list[int] = []
    candidates = iter(random.SystemRandom().sample(range(LOWEST, HIGHEST), HIGHEST - LOWEST))
    with ExitStack() as held:
        while len(chosen) < count:
            probe = held.enter_context(socket.socket())
            port = next(candidates)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            chosen.append(port)
    return chosen
