"""Rules for expressions over a changelog: they read it and nothing else, and nothing else reads it."""

from __future__ import annotations

from timeline_workers.errors import MetricError
from timeline_workers.language import tree as t

# By what is published, the leaves that cannot read it, or would compute otherwise than the writer.
NOT_READ = frozenset(
    {
        ("boolean", "number"),
        ("boolean", "numeric"),
        ("number", "boolean"),
        ("number", "numeric"),
        ("numeric", "boolean"),
        ("numeric", "number"),
        ("numeric", "state"),
        ("state", "numeric"),
    }
)


def changelog_kinds(expression: t.Expression) -> frozenset[str]:
    """The kinds of the leaves of ``expression`` that read a changelog."""
    kinds, stack = set(), [expression]
    while stack:
        node = stack.pop()
        if isinstance(node, t.Changelog):
            kinds.add(str(node.kind))
        stack.extend(node.children())
    return frozenset(kinds)


def refuse_changelog(expression: t.Expression, is_changelog: bool, where: str = "") -> None:
    """Raise MetricError for a changelog that is read as events, and for events that are read as a changelog.

    ``where``: what the message begins with.
    """
    reads, events, stack = bool(changelog_kinds(expression)), False, [expression]
    while stack:
        node = stack.pop()
        events |= isinstance(node, t.LatestEventToState | t.Column | t.Aggregate)
        stack.extend(node.children())
    if reads and not is_changelog:
        raise MetricError(
            f"{where}changelog(...) reads another metric's output, and this source is a topic of events; "
            "write 'changelog: true' in the source where it is an output"
        )
    if is_changelog and (events or not reads):
        raise MetricError(
            f"{where}the messages of a changelog have no columns; the expression reads what they say by "
            "changelog(boolean), changelog(state), changelog(number) or changelog(numeric)"
        )
