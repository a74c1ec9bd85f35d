"""A diagnosis of TLS connections that fail, by a handshake of our own.

Client libraries say little about it. Whether it is the server's certificate, the name in it, or our own
certificate, decides which setting to look at, so that is what ``tls_problem`` finds out.
"""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass

_HANDSHAKE_SECONDS = 5.0
_VERDICT_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Problem:
    """``reason``: what happened; ``fix``: what to do about it, a sentence without its stop."""

    reason: str
    fix: str


@dataclass(frozen=True, slots=True)
class Words:
    """How the settings are called: the ``authority`` file, the ``name`` to expect in the server's certificate
    (the whole advice), our own ``certificate`` and its ``key``, and what turned TLS on (``switch``).
    """

    authority: str
    name: str
    certificate: str
    key: str
    switch: str


def tls_problem(
    host: str,
    port: int,
    words: Words,
    *,
    authority: bytes | None = None,
    name: str | None = None,
    verify_name: bool = True,
    shows_certificate: bool = False,
    protocols: tuple[str, ...] = (),
) -> Problem | None:
    """Make a handshake without a certificate of our own; None when nothing is wrong with it, or no connection
    comes about at all. Blocks for some seconds at most.

    ``authority``: trusted certificates (PEM; default: the system's); ``name``: what the server's certificate
    must be made out to (default: ``host``); ``shows_certificate``: whether the client has one, which decides
    what is said when the server wants one; ``protocols``: for ALPN.
    """
    context = ssl.create_default_context() if authority is None else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = verify_name
    if protocols:
        context.set_alpn_protocols(list(protocols))
    if authority is not None:
        try:
            context.load_verify_locations(cadata=authority.decode())
        except (ssl.SSLError, ValueError) as error:
            return Problem(f"{words.authority} cannot be read ({_said(error)})", "Give certificates in PEM")
    try:
        with (
            socket.create_connection((host, port), timeout=_HANDSHAKE_SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=name or host) as secure,
        ):
            # In TLS 1.3 the server judges our certificate after we have accepted its own; some then say why,
            # others only hang up, and where all is well either may wait for the other.
            secure.settimeout(_VERDICT_SECONDS)
            return None if secure.recv(1) else _certificate(words, shows_certificate)
    except ssl.SSLCertVerificationError as error:
        other_name = "mismatch" in error.verify_message or "not valid for" in error.verify_message
        return Problem(
            f"the server's certificate is not accepted: {error.verify_message.rstrip('.')}",
            words.name if other_name else f"Give its authority as {words.authority}",
        )
    except (ssl.SSLError, ConnectionError) as error:
        if "CERTIFICATE" in str(error).upper() or isinstance(error, ConnectionResetError):
            return _certificate(words, shows_certificate)
        return Problem(
            f"no TLS connection can be made ({_said(error)})", f"If the server has no TLS, {words.switch}"
        )
    except OSError:
        return None


def _certificate(words: Words, shown: bool) -> Problem:
    if shown:
        return Problem(
            "the server does not accept the client's certificate",
            f"Check that {words.certificate} comes from an authority that it knows, and has not expired",
        )
    return Problem(
        "the server wants a client's certificate",
        f"Give one as {words.certificate}, with its key as {words.key}",
    )


def _said(error: Exception) -> str:
    return str(getattr(error, "reason", None) or error).replace("_", " ").lower()
