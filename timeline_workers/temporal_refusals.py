"""Why no connection to Temporal came about, in words that name the setting to look at.

The client library's own errors show its insides and say little of TLS, so after a failure a plain TLS
handshake is made, which tells whether it is the server's certificate, its name, or ours.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import ssl
from dataclasses import dataclass
from typing import Any

from temporalio.service import RPCError, RPCStatusCode, TLSConfig

_START = "Start a server with `timeline dev`, or set TEMPORAL_ADDRESS and TEMPORAL_NAMESPACE"
_STATUS = re.compile(r'code: (?P<code>\w+), message: "(?P<message>[^"]*)"')
_HANDSHAKE_SECONDS = 5.0
_ALERT_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Refusal:
    """``reason``: what happened; ``fix``: what to do about it."""

    reason: str
    fix: str = _START


async def explain(error: Exception, address: str, options: dict[str, Any]) -> Refusal:
    """Say why connecting to ``address`` with ``options`` of ``Client.connect`` failed with ``error``."""
    if isinstance(error, TimeoutError):
        return Refusal("no answer")
    if isinstance(error, OSError):
        # asyncio puts the address into the text of its own, once more.
        number = error.errno or 0  # negative for names that cannot be resolved
        return Refusal(os.strerror(number) if number > 0 else str(error.strerror or error))
    text = str(error).strip().rstrip(".")
    if isinstance(error, RPCError):
        refused = error.status in (RPCStatusCode.UNAUTHENTICATED, RPCStatusCode.PERMISSION_DENIED)
        return _credentials(text) if refused else Refusal(text)
    if "client cert and private key" in text:
        return Refusal(
            "a client's certificate needs its key",
            "Set both TEMPORAL_TLS_CLIENT_CERT_PATH and TEMPORAL_TLS_CLIENT_KEY_PATH, or neither",
        )
    secure = _is_secure(options)
    if secure and ("tonic::" in text or "transport error" in text):
        return await _tls_refusal(address, options) or Refusal(f"the connection failed: {text}")
    if "tonic::" in text or "transport error" in text:
        return Refusal(
            "something listens there, and the connection failed; does it want TLS?", "Set TEMPORAL_TLS=true"
        )
    if "get_system_info" in text:
        status = _STATUS.search(text)
        said = (status["message"] or status["code"]) if status else ""
        if status and status["code"] in ("Unauthenticated", "PermissionDenied"):
            return _credentials(said)
        shown = f" ({said})" if said else ""
        return Refusal(f"something listens there and does not answer as a Temporal server does{shown}")
    return Refusal(text)


def _is_secure(options: dict[str, Any]) -> bool:
    tls = options.get("tls")
    return bool(tls) or (tls is None and bool(options.get("api_key")))


def _credentials(said: str) -> Refusal:
    return Refusal(
        f"the server refuses our credentials ({said})",
        "Check TEMPORAL_API_KEY or the client's certificate (TEMPORAL_TLS_CLIENT_CERT_PATH), and what they "
        "may do in TEMPORAL_NAMESPACE",
    )


async def _tls_refusal(address: str, options: dict[str, Any]) -> Refusal | None:
    """Make a handshake as the client library would, without the client's certificate; None when it shows
    nothing.
    """
    tls = options.get("tls")
    config = tls if isinstance(tls, TLSConfig) else TLSConfig()
    host, _, port = address.rpartition(":")
    name = config.domain or host.strip("[]")
    context = ssl.create_default_context()
    context.set_alpn_protocols(["h2"])
    if config.server_root_ca_cert:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.set_alpn_protocols(["h2"])
        try:
            context.load_verify_locations(cadata=config.server_root_ca_cert.decode())
        except (ssl.SSLError, ValueError) as error:
            return Refusal(
                "the authority of TEMPORAL_TLS_SERVER_CA_CERT_PATH or …_DATA cannot be read "
                f"({_said(error)})",
                "Give a certificate in PEM",
            )
    try:
        async with asyncio.timeout(_HANDSHAKE_SECONDS):
            reader, writer = await asyncio.open_connection(
                host.strip("[]"), int(port), ssl=context, server_hostname=name
            )
            # In TLS 1.3 the server judges the client's certificate after its own was accepted; some then say
            # why, others only hang up.
            try:
                async with asyncio.timeout(_ALERT_SECONDS):
                    return None if await reader.read(1) else _client_certificate(config)
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except ssl.SSLCertVerificationError as error:
        named = "mismatch" in error.verify_message or "not valid for" in error.verify_message
        fix = (
            "Use the name that the certificate is made out to, or give it as TEMPORAL_TLS_SERVER_NAME"
            if named
            else "Give its authority as TEMPORAL_TLS_SERVER_CA_CERT_PATH"
        )
        return Refusal(f"the server's certificate is not accepted: {error.verify_message.rstrip('.')}", fix)
    except (ssl.SSLError, ConnectionError) as error:
        if "CERTIFICATE" in str(error).upper() or isinstance(error, ConnectionResetError):
            return _client_certificate(config)
        return Refusal(
            f"no TLS connection can be made ({_said(error)})",
            "If the server has no TLS, unset TEMPORAL_TLS… and TEMPORAL_API_KEY, which imply it",
        )
    except (OSError, TimeoutError):
        return None


def _client_certificate(config: TLSConfig) -> Refusal:
    if config.client_cert is None:
        return Refusal(
            "the server wants a client's certificate",
            "Give one as TEMPORAL_TLS_CLIENT_CERT_PATH, with its key as TEMPORAL_TLS_CLIENT_KEY_PATH",
        )
    return Refusal(
        "the server does not accept the client's certificate",
        "Check that TEMPORAL_TLS_CLIENT_CERT_PATH comes from an authority that it knows, and has not expired",
    )


def _said(error: Exception) -> str:
    return str(getattr(error, "reason", None) or error).replace("_", " ").lower()
