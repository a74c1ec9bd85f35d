"""Credentials for Pulsar and keys that encrypt payloads: ``TIMELINE_PULSAR_*`` and ``TIMELINE_CODEC_*``.

Temporal's own credentials are read by its SDK (``temporal_client``). Secrets given here are never part of a
message or a ``repr``; each can come from a file instead of the environment.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, SecretBytes, SecretStr, model_validator

from timeline_workers.errors import SettingsError

from .environment import FromEnvironment, ReadableFile, WritableFile


class PulsarAccess(FromEnvironment):
    """How to reach the Pulsar broker. Every client of the project is made with these.

    ``url``: ``pulsar://`` or, with TLS, ``pulsar+ssl://``. ``token``: a JWT; ``token_file``: a file that has
    it, read again for every connection, so that it can be renewed in place. ``tls_ca``: the authorities that
    the broker's certificate may come from (PEM; default: the usual public ones); ``tls_verify_hostname``:
    whether it must be made out to the host of the URL. ``tls_cert`` and ``tls_key``: the client's own
    certificate and key (PEM), for brokers that ask for one; without a token they say who we are, too.
    ``log``: the file to which the client library's own log goes (default: its errors, on standard output).
    """

    prefix = "TIMELINE_PULSAR_"

    url: str | None = None
    token: SecretStr | None = None
    token_file: ReadableFile | None = None
    tls_ca: ReadableFile | None = None
    tls_cert: ReadableFile | None = None
    tls_key: ReadableFile | None = None
    tls_verify_hostname: bool = True
    log: WritableFile | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.token is not None and self.token_file is not None:
            raise ValueError(
                "TIMELINE_PULSAR_TOKEN and TIMELINE_PULSAR_TOKEN_FILE are both set; keep one of them"
            )
        for has, lacks in (("tls_cert", "tls_key"), ("tls_key", "tls_cert")):
            if getattr(self, has) is not None and getattr(self, lacks) is None:
                raise ValueError(
                    f"{self.variable(has)} is set and {self.variable(lacks)} is not; a client's certificate "
                    f"needs its key: set {self.variable(lacks)}, too, or unset {self.variable(has)}"
                )
        if self.url is not None and self.url.startswith("pulsar://"):
            for name in ("tls_ca", "tls_cert"):
                if getattr(self, name) is not None:
                    raise ValueError(
                        f"{self.variable(name)} is set, and TIMELINE_PULSAR_URL={self.url!r} is not "
                        "encrypted; write pulsar+ssl://host:6651, or unset it"
                    )
        return self

    def token_source(self) -> Callable[[], str] | None:
        """A function that gives the token as it is now; None without a token.

        It raises SettingsError when the file cannot be read any more.
        """
        if self.token is not None:
            given = self.token.get_secret_value().strip()
            return lambda: given
        return None if self.token_file is None else self._token_in_file

    def _token_in_file(self) -> str:
        assert self.token_file is not None
        try:
            token = self.token_file.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(
                f"TIMELINE_PULSAR_TOKEN_FILE={str(self.token_file)!r}: no token can be read: {error}; "
                "write the token into it, as text that this user can read"
            ) from None
        if not token:
            raise SettingsError(
                f"TIMELINE_PULSAR_TOKEN_FILE={str(self.token_file)!r}: the file is empty; "
                "write the token into it"
            )
        return token


_KEY_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
KEY_BYTES = 32


class CodecKey(BaseModel):
    """One key of AES-256, and the id under which payloads name it."""

    model_config = ConfigDict(frozen=True)

    id: str
    secret: SecretBytes


def parse_keys(text: str) -> tuple[CodecKey, ...]:
    """Read keys, written ``id:base64`` one after the other, apart by white space, commas or lines; ``#``
    begins a comment that goes to the end of its line.

    Raises ValueError that says which entry is wrong by its id or place, never by its secret.
    """
    keys: list[CodecKey] = []
    bare = re.sub(r"#[^\n]*", "", text)
    for place, entry in enumerate(re.findall(r"[^\s,]+", bare), 1):
        name, colon, encoded = entry.partition(":")
        if not colon or not _KEY_ID.fullmatch(name):
            raise ValueError(
                f"key {place} is not written id:base64 (an id has up to 64 letters, digits, dots, - and _); "
                "write it so, as k1: and what openssl rand -base64 32 prints"
            )
        try:
            secret = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            raise ValueError(f"key {name!r} is not base64; make one with: openssl rand -base64 32") from None
        if len(secret) != KEY_BYTES:
            raise ValueError(
                f"key {name!r} has {len(secret)} bytes, and AES-256 needs {KEY_BYTES}; make one with: "
                "openssl rand -base64 32"
            )
        if any(name == key.id for key in keys):
            raise ValueError(f"key {name!r} is there twice; give every key an id of its own")
        keys.append(CodecKey(id=name, secret=SecretBytes(secret)))
    if not keys:
        raise ValueError("there is no key in it; write id:base64, the key that encrypts first")
    return tuple(keys)


def _check_keys(text: SecretStr) -> SecretStr:
    parse_keys(text.get_secret_value())
    return text


def _check_key_file(path: Path) -> Path:
    parse_keys(_text(path))
    return path


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        said = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ValueError(
            f"the file cannot be read: {said}; name a text file of keys that this user can read"
        ) from None


class CodecAccess(FromEnvironment):
    """The keys of the payload codec; without any, payloads are not encrypted.

    ``keys`` holds them itself, ``key_file`` is a file of them (``parse_keys``): the first encrypts, each of
    them decrypts. ``token``: what those who ask the codec server must know.
    """

    prefix = "TIMELINE_CODEC_"

    keys: Annotated[SecretStr, AfterValidator(_check_keys)] | None = None
    key_file: Annotated[Path, AfterValidator(_check_key_file)] | None = None
    token: SecretStr | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.keys is not None and self.key_file is not None:
            raise ValueError("TIMELINE_CODEC_KEYS and TIMELINE_CODEC_KEY_FILE are both set; keep one of them")
        return self

    def read(self) -> tuple[CodecKey, ...]:
        """The keys, the one that encrypts first; none when the codec is off. Raises SettingsError."""
        if self.keys is not None:
            return parse_keys(self.keys.get_secret_value())
        if self.key_file is None:
            return ()
        try:
            return parse_keys(_text(self.key_file))
        except ValueError as error:
            raise SettingsError(f"TIMELINE_CODEC_KEY_FILE={str(self.key_file)!r}: {error}") from None
