"""Secrets by reference: a target's file names the environment variable or the file in which one stands.

Only a process that sends resolves them, each time that it sends, so that they can be changed in place; what a
target or a library says is passed on by ``Secrets.hidden`` alone, which takes them out.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote, urlsplit

from pydantic import BaseModel, ConfigDict, model_validator

from timeline_workers.errors import SettingsError

OURS: Final = ("TIMELINE_", "TEMPORAL_")
"""How variables begin that no target may name: keys of payloads and credentials of servers are among them."""
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}", re.ASCII)
_LEAST = 4  # shorter parts of an address are no secrets, and would hide half of what is said
_WAYS = "write {env: NAME}, or {file: PATH}"


def _place(value: object) -> object:
    if isinstance(value, Mapping | SecretReference):
        return value
    # What stands there may be the secret: it is not repeated.
    raise ValueError(f"a secret is named here, and does not stand here itself; {_WAYS}")


class SecretReference(BaseModel):
    """Where a secret stands, as worker processes see it: in the variable ``env``, or in the file ``file``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    env: str | None = None
    file: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _no_secret_itself(cls, value: object) -> object:
        return _place(value)

    @model_validator(mode="after")
    def _one_place(self) -> Any:
        given = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"{' and '.join(given) or 'nothing'} is given, and one place is wanted; {_WAYS}")
        if self.env is not None:
            if not _VARIABLE.fullmatch(self.env):
                raise ValueError(f"env: what is there is no name of an environment variable; {_WAYS}")
            if self.env.startswith(OURS):
                raise ValueError(
                    f"{self.env} is a setting of this system, which no target is sent; give the secret a "
                    "variable of its own"
                )
        if self.file is not None and not Path(self.file).is_absolute():
            raise ValueError("file: what is there is no absolute path; write one that begins with /")
        return self

    @property
    def shown(self) -> str:
        """The place, for people."""
        return f"the variable {self.env}" if self.env is not None else f"the file {self.file}"


class Address(SecretReference):
    """An address: as it is, in ``text``, where it has no password in it, or where it stands."""

    text: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _no_secret_itself(cls, value: object) -> object:
        return {"text": value} if isinstance(value, str) else _place(value)

    @model_validator(mode="after")
    def _no_password(self) -> Any:
        try:
            found = None if self.text is None else urlsplit(self.text).password
        except ValueError:
            raise ValueError("it is no address; write SCHEME://HOST:PORT/PATH") from None
        if found is not None:
            raise ValueError(
                "there is a password in it; put the whole address into a variable or a file of the worker "
                f"processes, and {_WAYS}"
            )
        return self

    @property
    def shown(self) -> str:
        """The address, or its place, for people."""
        return super().shown if self.text is None else self.text


class Secrets:
    """The secrets that one target names, resolved as they are asked for."""

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        self._environ = os.environ if environ is None else environ
        self._found: set[str] = set()

    def secret(self, place: SecretReference) -> str:
        """The secret that stands at ``place``. Raises SettingsError, which names the place."""
        text = self._read(place).strip()
        if not text:
            raise SettingsError(f"no secret stands in {place.shown} of this worker process; put one there")
        self._found.update({text, *text.split()})
        return text

    def address(self, place: Address) -> str:
        """The address that ``place`` gives or names; of one that is named every part but the host is a
        secret. Raises SettingsError.
        """
        if place.text is not None:
            return place.text
        text = self.secret(place)
        self.hide_parts(text)
        return text

    def hide_parts(self, url: str) -> None:
        """Take every part of ``url`` but its scheme and its host for a secret."""
        _, _, rest = url.partition("://")
        host = re.split(r"[/?#]", rest)[0].rpartition("@")[2].partition(":")[0]
        words = re.split(r"[/?&=@:;,#\s]+", rest)
        self._found.update(word for word in words if len(word) >= _LEAST and word != host)

    def hidden(self, said: str) -> str:
        """``said`` without the secrets that were resolved, also as they are written in a URL."""
        forms = {form for one in self._found for form in (one, quote(one, safe=""), quote(one), unquote(one))}
        for form in sorted(forms, key=len, reverse=True):
            said = said.replace(form, "***")
        return said

    def _read(self, place: SecretReference) -> str:
        if place.env is not None:
            return self._environ.get(place.env, "")
        assert place.file is not None
        try:
            return Path(place.file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise SettingsError(
                f"no secret can be read from {place.shown}: {why}; put one there that this worker process "
                "can read"
            ) from None
