"""Names of groups as keys: what an aggregate's subscribers call its groups.

A key is a string or an int; a group may also be null, a bool or a float. Strings and ints stand for
themselves; the others are strings that begin with a null character, and so is a string that begins with one.
"""

from __future__ import annotations

from timeline_workers.columns.key_table import Key
from timeline_workers.columns.values import Scalar
from timeline_workers.errors import StateError

_MARK = "\0"
_WORDS: dict[str, Scalar | None] = {"null": None, "true": True, "false": False}


def key_of_group(group: Scalar | None) -> Key:
    """The key that stands for ``group``; different groups have different keys."""
    if group is None:
        return f"{_MARK}null"
    if isinstance(group, bool):
        return f"{_MARK}true" if group else f"{_MARK}false"
    if isinstance(group, float):
        return f"{_MARK}{group!r}"
    return _MARK + group if isinstance(group, str) and group.startswith(_MARK) else group


def group_of_key(key: Key) -> Scalar | None:
    """Reverse ``key_of_group``. Raises StateError for a string that stands for no group."""
    if not isinstance(key, str) or not key.startswith(_MARK):
        return key
    rest = key[len(_MARK) :]
    if rest.startswith(_MARK):
        return rest
    if rest in _WORDS:
        return _WORDS[rest]
    try:
        return float(rest)
    except ValueError:
        raise StateError(f"{key!r} stands for no group") from None
