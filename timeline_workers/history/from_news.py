"""Revisions of the history from what a worker's message makes new. No I/O."""

from __future__ import annotations

from timeline_workers.algebra.nodes.group_names import group_of_key
from timeline_workers.wire.news import News

from .exact import exact_value
from .model import Revision


def revisions_of(news: News, *, groups: bool = False) -> list[Revision]:
    """What ``news`` says of each key; ``groups``: its keys are the groups of an aggregate."""
    found = []
    for row, name in enumerate(news.keys):
        low, high = int(news.suffix.offsets[row]), int(news.suffix.offsets[row + 1])
        starts = news.suffix.starts[low:high].tolist()
        pieces = [(start, *exact_value(news.suffix, low + place)) for place, start in enumerate(starts)]
        found.append(Revision(group_of_key(name) if groups else name, int(news.froms[row]), pieces))
    return found
