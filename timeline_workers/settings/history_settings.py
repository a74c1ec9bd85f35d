"""History settings, ``TIMELINE_HISTORY*``: where the store is, and for how long it is waited for.

The address of a PostgreSQL store has a password in it, so that it is a secret: no message and no ``repr``
shows it. ``shown_address`` is what people are told.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr

from .environment import FromEnvironment

OFF = "off"
_POSTGRES = ("postgresql", "postgres")


def _check(address: SecretStr) -> SecretStr:
    text = address.get_secret_value()
    scheme, colon, rest = text.partition(":")
    if text == OFF or (scheme == "sqlite" and rest.strip("/")):
        return address
    if scheme in _POSTGRES and rest.startswith("//"):
        return address
    kind = f"{scheme}: is no kind of a history" if colon else "it names no kind of a history"
    raise ValueError(
        f"{kind}; write sqlite:///PATH, postgresql://USER:PASSWORD@HOST:PORT/DATABASE, or {OFF} for none"
    )


class HistorySettings(FromEnvironment):
    """``history`` (``TIMELINE_HISTORY``): the store of events, verdicts and revisions; ``off`` for none, None
    where nothing is said. ``history_patience`` (``TIMELINE_HISTORY_PATIENCE``): for how many seconds who
    writes to a store that does not answer waits for it, before the gap is noted that the history then has.
    """

    history: Annotated[SecretStr, AfterValidator(_check)] | None = None
    history_patience: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 600.0


def sqlite_address(path: Path) -> str:
    """The address of the SQLite store in the file ``path``."""
    return f"sqlite:{path.absolute()}"


def shown_address(address: str) -> str:
    """An address as people may see it: the path of a file, and a URL without a password."""
    scheme, _, rest = address.partition(":")
    if scheme not in _POSTGRES:
        return rest or address
    parts = urlsplit(address)
    user = f"{parts.username}@" if parts.username else ""
    host = parts.netloc.rpartition("@")[2]
    return f"{scheme}://{user}{host}{parts.path}"
