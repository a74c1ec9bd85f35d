"""News: what a message of an edge makes new, as an output hears it; packed, and cut into parts of a size.

Instants are microseconds. What is packed was checked when it is read again (``unpack_news``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from timeline_workers.algebra.nodes.published_values import published
from timeline_workers.algebra.timeline.timelines import Timeline
from timeline_workers.columns import operations
from timeline_workers.columns.key_table import Key
from timeline_workers.columns.values import Int64
from timeline_workers.errors import StateError

from .encoding import (
    MESSAGE_BYTES,
    MESSAGE_ROWS,
    check_keys,
    decoding,
    pack,
    pack_ints,
    pack_timeline,
    unpack,
    unpack_ints,
    unpack_timeline,
)

# About what a key without its name, and a piece, take before they are compressed.
_KEY_BYTES, _ROW_BYTES = 16, 24


@dataclass(frozen=True, slots=True)
class News:
    """What one message of an edge, or several, made new: of each of ``keys`` everything from its ``froms`` on
    is ``suffix``. ``watermark``: nothing below it will change, microseconds; ``risen``: that is news.
    ``unheard``: what lay between these two instants is not told (None first: from the beginning on); None:
    nothing is left out. ``before``: that of the node which is heard (see ``Node``).
    """

    keys: list[Key]
    froms: Int64
    suffix: Timeline
    watermark: int | None
    risen: bool
    unheard: tuple[int | None, int] | None = None
    before: str = ""

    def __bool__(self) -> bool:
        return bool(self.keys) or self.risen or self.unheard is not None

    def count(self) -> int:
        """How many messages ``changelog.messages`` makes of it."""
        told = np.flatnonzero(np.diff(self.suffix.offsets))
        firsts = self.suffix.starts[self.suffix.offsets[told]]
        taken_back = len(self.keys) - len(told) + int((firsts > self.froms[told]).sum())
        return len(self.suffix) + taken_back + self.risen + (self.unheard is not None)


def pack_news(news: News) -> bytes:
    """Encode; ``unpack_news`` reads it."""
    return pack(
        {
            "keys": news.keys,
            "froms": pack_ints(news.froms),
            "suffix": pack_timeline(news.suffix),
            "watermark": news.watermark,
            "risen": news.risen,
            **({} if news.unheard is None else {"unheard": news.unheard}),
            **({"before": news.before} if news.before else {}),
        },
        MESSAGE_BYTES,
    )


def unpack_news(packed: bytes) -> News:
    """Reverse ``pack_news``. Raises StateError for other bytes."""
    message = unpack(packed, MESSAGE_BYTES)
    with decoding("news of a node"):
        check_keys(message["keys"])
        unheard = message.get("unheard")
        news = News(
            message["keys"],
            unpack_ints(message["froms"], MESSAGE_ROWS),
            unpack_timeline(message["suffix"], MESSAGE_ROWS),
            message["watermark"],
            message["risen"],
            None if unheard is None else (unheard[0], unheard[1]),
            published(message.get("before", "")),
        )
    if not len(news.keys) == len(news.froms) == news.suffix.keys:
        raise StateError("news of keys, instants and timelines that differ in number")
    return news


def parts(news: News, limit: int) -> Iterator[News]:
    """Cut ``news`` by keys into some that say the same, in order, and take at most about ``limit`` bytes each
    when packed, or have a single key. The last of them tells of the watermark.

    A message of an edge numbers its keys and news names them; and an edge that begins anew takes back every
    key in its first message. So news may be many times as large as the message that it was found in.
    """
    sizes = np.array([len(str(key)) for key in news.keys], np.int64) + _KEY_BYTES
    sizes += np.diff(news.suffix.offsets) * _ROW_BYTES
    # Cut by what it takes before compression, however much that gains, and then by what it does take.
    portion = (np.cumsum(sizes) - sizes) // limit
    bounds = [*np.flatnonzero(np.diff(portion, prepend=-1)).tolist(), len(news.keys)]
    cuts = list(pairwise(bounds)) or [(0, 0)]
    while cuts:
        low, high = cuts.pop(0)
        part = _of_keys(news, low, high)
        if high - low > 1 and len(pack_news(part)) > limit:
            middle = (low + high) // 2
            cuts[:0] = [(low, middle), (middle, high)]
        else:
            yield part


def _of_keys(news: News, low: int, high: int) -> News:
    offsets = news.suffix.offsets[low : high + 1]
    rows = np.arange(int(offsets[0]), int(offsets[-1]))
    suffix = Timeline(
        offsets - offsets[0], news.suffix.starts[rows], operations.take(news.suffix.values, rows)
    )
    risen = news.risen and high == len(news.keys)
    unheard = None if low else news.unheard
    keys, froms = news.keys[low:high], news.froms[low:high]
    return News(keys, froms, suffix, news.watermark, risen, unheard, news.before)
