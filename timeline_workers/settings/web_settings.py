"""Web settings, ``TIMELINE_WEB_*``: what `timeline serve` must know that its command line does not say."""

from __future__ import annotations

from pydantic import SecretStr

from .environment import FromEnvironment


class WebSettings(FromEnvironment):
    """``token`` (``TIMELINE_WEB_TOKEN``): what those who ask must know; needed beyond this machine."""

    prefix = "TIMELINE_WEB_"

    token: SecretStr | None = None
