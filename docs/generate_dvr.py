"""Writes ``docs/dvr.asyncapi.yaml`` from the player's messages: ``python docs/generate_dvr.py``.

A test compares the file with what this makes.
"""

from __future__ import annotations

from pathlib import Path

import yaml

from timeline_workers.playback.asyncapi import document

PAGE = Path(__file__).with_name("dvr.asyncapi.yaml")
INTRODUCTION = "# Made by `python docs/generate_dvr.py`; do not edit.\n"


def page() -> str:
    """The text of the file."""
    return INTRODUCTION + yaml.safe_dump(document(), sort_keys=False, width=110, allow_unicode=True)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
