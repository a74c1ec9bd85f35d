"""Errors of connecting to Temporal, in words that name the setting to look at.

The client library's own errors show its insides, and say little of TLS.
"""

from __future__ import annotations

import asyncio
import os
import re
from typing import Any

from temporalio.service import RPCError, RPCStatusCode, TLSConfig

from timeline_workers.servers.tls_diagnosis import Problem, Words, tls_problem

_START = "Start a server with `timeline dev`, or set TEMPORAL_ADDRESS and TEMPORAL_NAMESPACE"
_STATUS = re.compile(r'code: (?P<code>\w+), message: "(?P<message>[^"]*)"')


_WORDS = Words(
    authority="TEMPORAL_TLS_SERVER_CA_CERT_PATH (or …_DATA)",
    name="Use the name that the certificate is made out to, or give it as TEMPORAL_TLS_SERVER_NAME",
    certificate="TEMPORAL_TLS_CLIENT_CERT_PATH",
    key="TEMPORAL_TLS_CLIENT_KEY_PATH",
    switch="unset TEMPORAL_TLS… and TEMPORAL_API_KEY, which imply it",
)


async def explain(error: Exception, address: str, options: dict[str, Any]) -> Problem:
    """Say why connecting to ``address`` with ``options`` of ``Client.connect`` failed with ``error``."""
    if isinstance(error, TimeoutError):
        return Problem("no answer", _START)
    if isinstance(error, OSError):
        # asyncio puts the address into the text of its own, once more.
        number = error.errno or 0  # negative for names that cannot be resolved
        return Problem(os.strerror(number) if number > 0 else str(error.strerror or error), _START)
    text = str(error).strip().rstrip(".")
    if isinstance(error, RPCError):
        refused = error.status in (RPCStatusCode.UNAUTHENTICATED, RPCStatusCode.PERMISSION_DENIED)
        return _credentials(text) if refused else Problem(text, _START)
    if "client cert and private key" in text:
        return Problem(
            "a client's certificate needs its key",
            "Set both TEMPORAL_TLS_CLIENT_CERT_PATH and TEMPORAL_TLS_CLIENT_KEY_PATH, or neither",
        )
    secure = _is_secure(options)
    if secure and ("tonic::" in text or "transport error" in text):
        return await _tls_refusal(address, options) or Problem(f"the connection failed: {text}", _START)
    if "tonic::" in text or "transport error" in text:
        return Problem(
            "something listens there, and the connection failed; does it want TLS?", "Set TEMPORAL_TLS=true"
        )
    if "get_system_info" in text:
        status = _STATUS.search(text)
        said = (status["message"] or status["code"]) if status else ""
        if status and status["code"] in ("Unauthenticated", "PermissionDenied"):
            return _credentials(said)
        shown = f" ({said})" if said else ""
        return Problem(
            f"something listens there and does not answer as a Temporal server does{shown}", _START
        )
    return Problem(text, _START)


def _is_secure(options: dict[str, Any]) -> bool:
    tls = options.get("tls")
    return bool(tls) or (tls is None and bool(options.get("api_key")))


def _credentials(said: str) -> Problem:
    return Problem(
        f"the server refuses our credentials ({said})",
        "Check TEMPORAL_API_KEY or the client's certificate (TEMPORAL_TLS_CLIENT_CERT_PATH), and what they "
        "may do in TEMPORAL_NAMESPACE",
    )


async def _tls_refusal(address: str, options: dict[str, Any]) -> Problem | None:
    tls = options.get("tls")
    config = tls if isinstance(tls, TLSConfig) else TLSConfig()
    host, _, port = address.rpartition(":")
    return await asyncio.to_thread(
        tls_problem,
        host.strip("[]"),
        int(port),
        _WORDS,
        authority=config.server_root_ca_cert,
        name=config.domain,
        shows_certificate=config.client_cert is not None,
        protocols=("h2",),
    )
