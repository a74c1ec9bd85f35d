"""The page's files: what ``/`` serves, where it has been built.

They are made from ``page/`` and are part of the package, so that nobody who installs it needs Node. Names
below ``assets/`` have a digest of their content in them, and may be kept for good.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from starlette.responses import PlainTextResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

FOLDER: Final = Path(__file__).with_name("page")
NO_PAGE: Final = "the page is not part of this installation; /api/openapi.json lists what is served\n"


def is_built(folder: Path = FOLDER) -> bool:
    """Whether there is a page to serve."""
    return (folder / "index.html").is_file()


class _Files(StaticFiles):
    def file_response(self, full_path: str, *args: object, **kwargs: object) -> Response:  # type: ignore[override]
        response = super().file_response(full_path, *args, **kwargs)  # type: ignore[arg-type]
        kept = Path(full_path).parent.name == "assets"
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable" if kept else "no-cache"
        return response


def page_files(folder: Path = FOLDER) -> ASGIApp:
    """The application at ``/``."""
    if is_built(folder):
        return _Files(directory=folder, html=True)

    async def without(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse(NO_PAGE, 404)(scope, receive, send)

    return without
