"""The REST interface as an application of FastAPI, over a ``Site``, and its OpenAPI document.

``document`` is a plain mapping; ``python docs/generate_rest.py`` writes it as ``docs/openapi.json``.
"""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute

from . import (
    history_routes,
    lane_routes,
    letter_routes,
    metric_routes,
    question_routes,
    upkeep_routes,
)
from .failures import Failure, add_handlers
from .rest_models import ServerInfo
from .site import OfSite, Site

VERSION: Final = "1.0.0"  # of the interface
DESCRIPTION = """\
Everything that the `timeline` command does with metrics, questions, dead letters and the history, with the
same answers and the same errors. What goes wrong is answered with a `Failure`, whose `code` never changes its
meaning. Times are in the unit of the metric's source unless `unit` says otherwise. Beside it, `/api/dvr` is
the socket of the player (subprotocol `timeline.dvr.v1`).
"""

_info = APIRouter()


@_info.get("/server", tags=["server"])
async def server_info(site: OfSite) -> ServerInfo:
    """What runs here, and what it may do."""
    return ServerInfo(
        version=site.version,
        read_only=site.read_only,
        history=site.has_history,
        temporal_ui=site.temporal_ui,
        encrypted=site.encrypted,
    )


def rest_application(site: Site | None = None) -> FastAPI:
    """The application; ``site`` None: only its document is wanted."""
    app = FastAPI(
        title="Timeline workers",
        version=VERSION,
        description=DESCRIPTION,
        docs_url=None,  # the page of FastAPI loads its scripts from elsewhere
        redoc_url=None,
        openapi_url="/api/openapi.json",
        separate_input_output_schemas=False,
        generate_unique_id_function=_operation,
    )
    app.state.site = site
    for router in (
        _info,
        metric_routes.router,
        question_routes.router,
        lane_routes.router,
        history_routes.router,
        upkeep_routes.router,
        letter_routes.router,
    ):
        app.include_router(
            router,
            prefix="/api",
            responses={"default": {"model": Failure, "description": "What was wrong"}},
        )
    add_handlers(app)
    return app


def _operation(route: APIRoute) -> str:
    return route.name


def document() -> dict[str, Any]:
    """The OpenAPI document."""
    return rest_application().openapi()
