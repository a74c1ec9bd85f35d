"""The web application, which `timeline serve` runs: REST, the player's socket and the page, guarded."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import ASGIApp, Receive, Scope, Send

from timeline_workers.metric.model import Metric
from timeline_workers.playback.playhead import Settings
from timeline_workers.playback.recording import Recording
from timeline_workers.playback.tables_recording import TablesRecording

from .dvr import dvr_route
from .health_recording import HealthRecording, HealthWatch
from .page_files import page_files
from .request_guard import Guard, is_api
from .rest_application import rest_application
from .site import AppliedNames, Site
from .site_recording import SiteRecording


def web_application(
    site: Site, *, recording: Recording | None = None, settings: Settings | None = None
) -> ASGIApp:
    """All that is served for ``site``. ``recording``: what the player plays; by default the history of
    ``site`` and its event tables, and without either there is no socket.
    """
    api = rest_application(site)
    page = Starlette(routes=[Mount("/", page_files())])

    async def metrics() -> list[Metric]:
        return await (await site.client()).metrics()

    async def states() -> list[tuple[str, str, str | None]]:
        return [(one.metric, one.state, one.cause) for one in await (await site.client()).health()]

    if recording is None and site.has_history:
        recording = SiteRecording(site, AppliedNames(metrics))
    if site.tables is not None:
        recording = TablesRecording(site.tables, recording)
    if recording is not None:
        recording = HealthRecording(HealthWatch(states), recording)
        api.router.routes.append(dvr_route(recording, site.access, version=site.version, settings=settings))

    async def either(scope: Scope, receive: Receive, send: Send) -> None:
        """One beside the other: an address below ``/api/`` that is none has an answer of the API's."""
        await (api if is_api(scope) else page)(scope, receive, send)

    return Guard(either, site.access)
