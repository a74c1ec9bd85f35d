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


def wrong_address(address: str) -> str | None:
    """Which rule ``address`` breaks as that of a store, and how to write one; None where it is right. It may
    have a password, which is not said.
    """
    scheme, colon, rest = address.partition(":")
    if scheme == "sqlite" and colon:
        broken = None if rest.strip("/ ") else "sqlite: names no file"
    elif scheme in _POSTGRES and colon:
        broken = None if rest.startswith("//") else f"{scheme}: names no server"
    else:
        broken = f"{scheme}: is no kind of a history" if colon else "it names no kind of a history"
    if broken is None:
        return None
    return f"{broken}; write sqlite:PATH or postgresql://USER:PASSWORD@HOST:PORT/DATABASE"


def _check(address: SecretStr) -> SecretStr:
    text = address.get_secret_value()
    if text != OFF and (wrong := wrong_address(text)) is not None:
        raise ValueError(f"{wrong}, or {OFF} for none")
    return address


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
