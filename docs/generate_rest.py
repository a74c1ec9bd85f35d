"""Writes ``docs/openapi.json`` from the routes and models: ``python docs/generate_rest.py``.

A test compares the file with what this makes.
"""

from __future__ import annotations

import json
from pathlib import Path

from timeline_workers.web.rest_application import document

PAGE = Path(__file__).with_name("openapi.json")


def page() -> str:
    """The text of the file."""
    return json.dumps(document(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
