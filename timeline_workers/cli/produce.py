"""``timeline produce``: sample events, as ``python -m producer`` sends them."""

from __future__ import annotations

import typer

from producer.__main__ import app as producer


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.add_typer(producer, name="produce")
