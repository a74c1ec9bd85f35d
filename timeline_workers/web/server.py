"""Server: runs an ASGI application on uvicorn, with the limits of the player's protocol.

Messages over 64 KiB close a socket with 1009, a restart of the server closes all with 1012.
"""

from __future__ import annotations

import uvicorn
from starlette.types import ASGIApp

from timeline_workers.playback.requests import LONGEST_REQUEST


def server(app: ASGIApp, host: str = "127.0.0.1", port: int = 0) -> uvicorn.Server:
    """A server that is not running yet; ``await server.serve()`` runs it."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            host=host,
            port=port,
            ws="websockets-sansio",
            ws_max_size=LONGEST_REQUEST,
            lifespan="off",
            access_log=False,  # addresses may hold a token
            log_config=None,
            server_header=False,
        )
    )
