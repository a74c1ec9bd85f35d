"""Access: who may open a socket or ask: by Host header, by origin, by token, and how many sockets at once.

On a loopback address no token is needed, on any other one is. A page of another site cannot open a socket, or
change anything, in its visitor's name: browsers say which origin a page has, and it must be that of this
server, or one that was allowed. The Host header must be one of ours, so that no name of an attacker's that
resolves to this address (DNS rebinding) makes a page of theirs one of ours.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final
from urllib.parse import urlsplit

from timeline_workers.errors import SettingsError
from timeline_workers.playback.codes import CloseCode

SOCKETS: Final = 8  # of one token at once
LOOPBACK: Final = ("127.0.0.1", "localhost", "[::1]")


class Access:
    """The rules of one server that listens on ``host``.

    ``token``: the secret that clients send; ``hosts``: further names by which it is reached; ``origins``: of
    other sites that may use it, such as ``https://example.org``. Raises SettingsError where ``host`` is no
    loopback address and there is no token.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        *,
        token: str | None = None,
        hosts: tuple[str, ...] = (),
        origins: tuple[str, ...] = (),
    ) -> None:
        if not token and not is_loopback(host):
            raise SettingsError(
                f"to listen on {host}, which others reach, a token is needed: set TIMELINE_WEB_TOKEN, or "
                "listen on 127.0.0.1"
            )
        self._token = token or None
        self.hosts = (*LOOPBACK, *hosts, *(() if host in LOOPBACK else (host,)))
        self._origins = frozenset(origins)
        self._open: Counter[str] = Counter()

    def knows_host(self, header: str | None) -> bool:
        """Whether a Host header is one of this server's."""
        return header is not None and _without_port(header) in self.hosts

    def refusal(self, headers: Mapping[str, str], query: Mapping[str, str]) -> CloseCode | None:
        """Why a socket is refused; None: it is not. Names of headers are in small letters."""
        if not self.is_own(headers.get("origin"), headers.get("host")):
            return CloseCode.FOREIGN_ORIGIN
        return None if self.has_token(headers, query) else CloseCode.NO_TOKEN

    def has_token(self, headers: Mapping[str, str], query: Mapping[str, str]) -> bool:
        """Whether who asks knows the token, or none is needed."""
        if self._token is None:
            return True
        return hmac.compare_digest(_said(headers, query).encode(), self._token.encode())

    def is_own(self, origin: str | None, host: str | None) -> bool:
        """Whether a page of ``origin`` may change something, or open a socket."""
        if origin is None:  # no browser
            return True
        return origin in self._origins or urlsplit(origin).netloc == (host or "")

    @contextmanager
    def socket(self) -> Iterator[bool]:
        """Count a socket while it is open; whether it may be: there are fewer than ``SOCKETS``."""
        name = self._token or ""
        may = self._open[name] < SOCKETS
        self._open[name] += may
        try:
            yield may
        finally:
            self._open[name] -= may

    @property
    def sockets(self) -> int:
        """How many sockets are open."""
        return self._open.total()


def _said(headers: Mapping[str, str], query: Mapping[str, str]) -> str:
    """The token that a client sent: pages cannot set headers of a socket, so it may be in the address."""
    kind, _, said = headers.get("authorization", "").partition(" ")
    return said.strip() if kind.lower() == "bearer" else query.get("token", "")


def _without_port(header: str) -> str:
    host, colon, port = header.rpartition(":")
    return host if colon and port.isdigit() else header


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens on ``host``."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
