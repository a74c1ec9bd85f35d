"""Reading settings from environment variables: checked as a whole, with an error that names the variable.

A class of settings is a model whose fields are named as the variables are, without their prefix: ``tls_ca``
of prefix ``TIMELINE_PULSAR_`` is ``TIMELINE_PULSAR_TLS_CA``. A variable that is empty counts as not set.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, SecretStr, ValidationError

from timeline_workers.errors import SettingsError

from .field_rules import broken_rule
from .written_text import text_problem


def _readable(path: Path) -> Path:
    try:
        with path.open("rb"):
            return path
    except OSError as error:
        raise ValueError(
            f"the file cannot be read: {error.strerror}; name one that this user can read, or unset it"
        ) from None


def _writable(path: Path) -> Path:
    try:
        with path.open("ab"):
            return path
    except OSError as error:
        raise ValueError(
            f"the file cannot be written: {error.strerror}; name one that this user can write, or unset it"
        ) from None


WritableFile = Annotated[Path, AfterValidator(_writable)]
"""A path of a file that can be written when the settings are read; it is made where it is not there."""

ReadableFile = Annotated[Path, AfterValidator(_readable)]
"""A path of a file that can be read when the settings are."""


class FromEnvironment(BaseModel):
    """Base of settings that are read from the environment. ``prefix``: what their variables begin with."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    prefix: ClassVar[str] = "TIMELINE_"

    @classmethod
    def variable(cls, field: str) -> str:
        """The environment variable of a field."""
        return cls.prefix + field.upper()

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Read the settings.

        Raises SettingsError naming the variable, its value (unless it is a secret) and the rule it breaks.
        """
        found = os.environ if environ is None else environ
        given = {name: found.get(cls.variable(name), "") for name in cls.model_fields}
        for name, value in given.items():
            if problem := text_problem(value):
                shown = "" if cls._is_secret(name) else f"={value!r}"
                raise SettingsError(f"{cls.variable(name)}{shown}: {problem}")
        try:
            return cls.model_validate({name: value for name, value in given.items() if value != ""})
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            if not first["loc"]:  # a rule about several variables, which names them
                raise SettingsError(broken_rule(first)) from None
            name = str(first["loc"][0])
            field = cls.model_fields[name]
            shown = "" if cls._is_secret(name) else f"={given[name]!r}"
            said = broken_rule(first, field.metadata)
            if first["type"] != "value_error" and field.default not in (None, ""):
                said += f", or unset it for {str(field.default).lower()}"
            raise SettingsError(f"{cls.variable(name)}{shown}: {said}") from None

    @classmethod
    def _is_secret(cls, field: str) -> bool:
        kind: Any = cls.model_fields[field].annotation
        return "SecretStr" in str(kind) or kind is SecretStr
