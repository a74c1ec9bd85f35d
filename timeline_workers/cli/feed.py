"""``timeline feed``: the feeder, as ``python -m feeder`` runs it."""

from __future__ import annotations

import typer

from feeder.program import main


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("feed")(main)
