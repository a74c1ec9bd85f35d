"""Names of Pulsar topics: what is one, so that a wrong one is refused before anything is started on it."""

from __future__ import annotations

_FORMS = "write name, tenant/namespace/name or persistent://tenant/namespace/name"


def topic_problem(name: str) -> str | None:
    """What is wrong with ``name`` as the topic of a source, with the fix; None when nothing is."""
    scheme, separator, path = name.rpartition("://")
    parts = path.split("/")
    if separator and scheme == "non-persistent":
        return (
            f"the topic {name!r} is non-persistent: events would be lost while the feeder is away; use a "
            "persistent one"
        )
    wrong = (
        (separator and (scheme != "persistent" or len(parts) != 3))
        or len(parts) not in (1, 3)
        or any(not part or part != part.strip() or not part.isprintable() for part in parts)
    )
    return f"{name!r} is not a topic name; {_FORMS}" if wrong else None


def dead_letter_topic(topic: str) -> str:
    """The name of the dead-letter topic of ``topic``."""
    return f"{topic}-dead-letter"


def replayed_topic(topic: str) -> str:
    """The name of the topic in which it is remembered which dead letters of ``topic`` were replayed."""
    return f"{dead_letter_topic(topic)}-replayed"
