"""``timeline output``: what a metric's output has published."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from timeline_workers.client.published import published

from .cluster import AddressOption, MetricArgument, NamespaceOption, with_client
from .output import complain, discard_stdout


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("output")(output)


def output(
    name: MetricArgument,
    key: Annotated[
        list[str] | None, typer.Option("--key", "-k", help="Only messages about this key; may be repeated.")
    ] = None,
    address: AddressOption = None,
    namespace: NamespaceOption = None,
) -> None:
    """Print what the topic of a metric's output has now, one message a line, as it was published.

    docs/outputs.md says what the fields mean. `timeline eval -f FILE --events -` evaluates, over these lines,
    a metric that reads the topic.
    """
    metric = with_client(address, namespace, lambda client: client.metric(name))
    wanted, found = frozenset(key or ()), 0
    try:
        for line in published(metric):
            if not wanted or _key_of(line) in wanted:
                found += 1
                sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
    except BrokenPipeError:
        discard_stdout()
        return
    if not found:
        complain(f"topic {metric.output.topic} has no message" + (" about that key" if wanted else " yet"))


def _key_of(line: str) -> str | None:
    """The key that a message is about, as it is typed; None for a watermark."""
    try:
        message = json.loads(line)
    except ValueError:
        return None
    if not isinstance(message, dict) or "key" not in message:
        return None
    return message["key"] if isinstance(message["key"], str) else json.dumps(message["key"])
