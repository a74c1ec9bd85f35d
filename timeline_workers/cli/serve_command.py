"""``timeline serve``: the page, the REST interface and the player's socket."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import timeline_workers
from timeline_workers.client import TimelineClient
from timeline_workers.errors import HistoryError, SettingsError
from timeline_workers.event_tables.declaration import read_tables
from timeline_workers.event_tables.open_table import OpenTables
from timeline_workers.history.open import open_history
from timeline_workers.process.exit import stop_signals
from timeline_workers.servers.embedded.embedded_addresses import running_addresses
from timeline_workers.servers.embedded.history_address import history_address
from timeline_workers.settings.credentials import CodecAccess
from timeline_workers.settings.history_settings import shown_address
from timeline_workers.settings.web_settings import WebSettings

from .cluster import AddressOption, NamespaceOption
from .output import complain

if TYPE_CHECKING:
    from timeline_workers.web.site import Site

PORT = 8321
RETRY_SECONDS = 2.0
INSTALL = "pip install 'timeline-workers[web]'"


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("serve")(serve)


def serve(
    port: Annotated[
        int, typer.Option(min=0, max=65_535, help="Port to listen on; 0 for any free one.")
    ] = PORT,
    host: Annotated[
        str, typer.Option(help="Address to listen on; beyond this machine only with TIMELINE_WEB_TOKEN.")
    ] = "127.0.0.1",
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Apply, delete, replay, import and forget nothing.")
    ] = False,
    host_name: Annotated[
        list[str] | None,
        typer.Option(
            "--host-name",
            metavar="NAME",
            help="Another name by which browsers reach this server; may be repeated.",
            show_default="localhost, 127.0.0.1 and --host",
        ),
    ] = None,
    origin: Annotated[
        list[str] | None,
        typer.Option(
            "--origin",
            metavar="URL",
            help="Another site whose pages may use this server, as https://example.org; may be repeated.",
            show_default="none",
        ),
    ] = None,
    tables: Annotated[
        Path | None,
        typer.Option(
            "--tables",
            metavar="FILE",
            help="Event tables of others that the player plays, too; see docs/tables.md.",
            show_default="none",
        ),
    ] = None,
    temporal_ui: Annotated[
        str | None,
        typer.Option(
            "--temporal-ui",
            metavar="URL",
            help="Where Temporal's UI is, for links to it.",
            show_default="that of `timeline dev`",
        ),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Do not say where it listens.")] = False,
    address: AddressOption = None,
    namespace: NamespaceOption = None,
) -> None:
    """Serve the page, the REST interface (/api/openapi.json) and the player's socket (/api/dvr) until Ctrl-C.

    What is played is the history store of TIMELINE_HISTORY, or of the `timeline dev` of this directory. With
    TIMELINE_WEB_TOKEN set, every request must carry it as `Authorization: Bearer …`. Where payloads are
    encrypted, this process needs the keys, as every command does: TIMELINE_CODEC_KEYS or
    TIMELINE_CODEC_KEY_FILE.
    """
    try:
        from timeline_workers.web.access import Access
        from timeline_workers.web.site import Site
    except ImportError as error:
        raise SettingsError(f"{error}; {INSTALL}") from None
    token = WebSettings.from_env().token
    access = Access(
        host,
        token=None if token is None else token.get_secret_value(),
        hosts=tuple(host_name or ()),
        origins=tuple(origin or ()),
    )
    running = running_addresses()
    declared = None if tables is None else OpenTables(read_tables(tables))
    site = Site(
        connect=lambda: TimelineClient.connect(address, namespace),
        access=access,
        tables=declared,
        version=timeline_workers.__version__,
        read_only=read_only,
        temporal_ui=temporal_ui or (None if running is None else running.ui),
        encrypted=bool(CodecAccess.from_env().read()),
    )
    asyncio.run(_serve(site, host, port, quiet))


async def _opens(site: Site, address: str) -> bool:
    """Whether the history store opens. Raises HistoryError for what does not pass, SettingsError."""
    try:
        site.store = await open_history(address, create=False)
    except HistoryError as error:
        if not error.may_pass:
            raise
        if site.store_down is None:
            complain(f"warning: {error}; it is tried again, and the history is served once it answers")
        site.store_down = str(error)
        return False
    site.store_down = None
    return True


async def _open_later(site: Site, address: str) -> None:
    try:
        while not await _opens(site, address):
            await asyncio.sleep(RETRY_SECONDS)  # between two tries
    except Exception as error:  # all else is served on; who asks for the history is told why there is none
        site.store_down = str(error)
        complain(f"error: {error}; the history is not served until this server is started again")


async def _serve(site: Site, host: str, port: int, quiet: bool) -> None:
    from timeline_workers.plan.layout import warm
    from timeline_workers.web.page_files import is_built
    from timeline_workers.web.server import address_of, bind, serve_until
    from timeline_workers.web.web_application import web_application

    with bind(host, port) as listening:
        store = history_address()
        opening = None
        if store is not None and not await _opens(site, store):
            opening = asyncio.create_task(_open_later(site, store))
        try:
            async with stop_signals() as stop:
                lines = [
                    f"page      {address_of(listening)}",
                    "history   " + ("off" if store is None else shown_address(store)),
                ]
                if site.tables is not None:
                    lines.append(f"tables    {', '.join(site.tables.declarations)}")
                if not is_built():
                    lines.append("the page is not part of this installation: only /api/ is served")
                if not quiet:
                    complain("\n".join([*lines, "Ctrl-C stops it."]))
                warming = asyncio.create_task(asyncio.to_thread(warm))
                await serve_until(web_application(site), listening, stop)
                await asyncio.gather(warming, return_exceptions=True)
        finally:
            if opening is not None:
                opening.cancel()
                await asyncio.gather(opening, return_exceptions=True)
            if site.tables is not None:
                await site.tables.close()
            if site.store is not None:
                await site.store.close()
