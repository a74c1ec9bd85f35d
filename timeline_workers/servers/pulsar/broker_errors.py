"""Errors of the Pulsar broker, in words that name the setting to look at.

A broker that does not accept our credentials hangs up without a word, and the client library tries again
until its time is over; of TLS it says only that the connection failed.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from timeline_workers.errors import ConnectionFailedError
from timeline_workers.servers.tls_diagnosis import Words, tls_problem
from timeline_workers.settings.credentials import PulsarAccess

_WORDS = Words(
    authority="TIMELINE_PULSAR_TLS_CA",
    name="Use the name that the certificate is made out to, or set TIMELINE_PULSAR_TLS_VERIFY_HOSTNAME=false",
    certificate="TIMELINE_PULSAR_TLS_CERT",
    key="TIMELINE_PULSAR_TLS_KEY",
    switch="write pulsar:// in TIMELINE_PULSAR_URL",
)


def no_answer(url: str, error: Exception) -> ConnectionFailedError:
    """The error for a broker at ``url`` that takes connections and was given up on with ``error``.

    Makes a TLS handshake where the URL wants one: blocks for some seconds at most.
    """
    access = PulsarAccess.from_env()
    parts = urlsplit(url.split(",")[0])
    if parts.scheme in ("pulsar+ssl", "https") and parts.hostname:
        problem = tls_problem(
            parts.hostname,
            parts.port or 6651,
            _WORDS,
            authority=None if access.tls_ca is None else access.tls_ca.read_bytes(),
            verify_name=access.tls_verify_hostname,
            shows_certificate=access.tls_cert is not None,
        )
        if problem is not None:
            return ConnectionFailedError(
                f"the Pulsar broker at {url} cannot be used: {problem.reason}. {problem.fix}"
            )
    return ConnectionFailedError(
        f"the Pulsar broker at {url} takes connections and does not answer ({error}). It may not accept our "
        "credentials, or want some: check TIMELINE_PULSAR_TOKEN, TIMELINE_PULSAR_TOKEN_FILE and "
        "TIMELINE_PULSAR_TLS_CERT; or it is starting, or no Pulsar broker"
    )
