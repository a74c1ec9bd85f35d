"""``timeline codec-server``: shows encrypted payloads in Temporal's UI and command line."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Sequence
from typing import Annotated

import typer

from timeline_workers.errors import SettingsError
from timeline_workers.process.exit import stop_signals
from timeline_workers.settings.credentials import CodecAccess, CodecKey

from .output import complain

UI_ORIGIN = "http://127.0.0.1:8233"


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("codec-server")(codec_server)


def codec_server(
    port: Annotated[
        int, typer.Option(min=0, max=65_535, help="Port to listen on; 0 for any free one.")
    ] = 8081,
    host: Annotated[
        str, typer.Option(help="Address to listen on; beyond this machine only with TIMELINE_CODEC_TOKEN.")
    ] = "127.0.0.1",
    origin: Annotated[
        list[str] | None,
        typer.Option(
            "--origin",
            metavar="URL",
            help="Where a browser has Temporal's UI from; may be repeated.",
            show_default=f"{UI_ORIGIN} and http://localhost:8233",
        ),
    ] = None,
) -> None:
    """Decrypt and encrypt payloads for Temporal's UI and its command line, until Ctrl-C.

    The keys are those of TIMELINE_CODEC_KEYS or TIMELINE_CODEC_KEY_FILE. With TIMELINE_CODEC_TOKEN set, every
    request must carry it as `Authorization: Bearer …`. Whoever may ask can read every payload.
    """
    access = CodecAccess.from_env()
    keys = access.read()
    if not keys:
        raise SettingsError(
            "there are no keys to decrypt with; set TIMELINE_CODEC_KEYS or TIMELINE_CODEC_KEY_FILE to those "
            "of the workers"
        )
    token = None if access.token is None else access.token.get_secret_value()
    if token is None and not _is_loopback(host):
        raise SettingsError(
            f"--host {host} lets other machines ask, and TIMELINE_CODEC_TOKEN is not set; set it to a "
            "secret, or listen on 127.0.0.1"
        )
    origins = origin or [UI_ORIGIN, "http://localhost:8233"]
    asyncio.run(_serve(keys, origins, token, host, port))


async def _serve(
    keys: Sequence[CodecKey], origins: Sequence[str], token: str | None, host: str, port: int
) -> None:
    from timeline_workers.servers.temporal.codec import EncryptionCodec

    codec = EncryptionCodec(keys)  # says what to install when cryptography is missing
    try:
        from timeline_workers.servers.temporal.codec_server import codec_application, serve
    except ImportError as error:
        raise SettingsError(f"{error}; pip install 'timeline-workers[codec]'") from None
    app = codec_application(codec, origins, token)
    async with stop_signals() as stop:
        await serve(app, host, port, stop, lambda url: complain(f"codec server  {url}   Ctrl-C stops it"))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
