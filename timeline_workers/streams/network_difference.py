"""The canonical form of networks, and the difference of two: what is new, changed, kept and removed."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from pydantic import BaseModel, ConfigDict

from timeline_workers.errors import Code, NetworkError
from timeline_workers.language.canonical import canonical, to_text
from timeline_workers.language.parser import parse
from timeline_workers.language.scalar_parser import parse_scalar, scalar_text

from .network_file import network_fields, network_text
from .network_model import Network
from .wiring import Wiring


class StoredNetwork(BaseModel):
    """A network as it is stored. ``revision``: one more with each change; ``text``: its file as it was
    written, comments included."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    network: Network
    revision: int
    text: str

    @staticmethod
    def first(network: Network, text: str | None = None) -> StoredNetwork:
        """What is stored of a network that was not there."""
        return StoredNetwork(
            network=network, revision=1, text=network_text(network) if text is None else text
        )


class Difference(BaseModel):
    """Names of sources, streams, metrics and outputs, in the order of their files. ``changed``: those that
    give other results now, also because something that they read does."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    new: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


def canonical_network(network: Network) -> Network:
    """``network`` with every expression in one spelling, and without descriptions and tests."""
    fields = network_fields(network)
    fields.pop("tests", None)
    fields.pop("description", None)
    for stream in fields.get("streams", {}).values():
        stream.pop("description", None)
        if "where" in stream:
            stream["where"] = _spelt(stream["where"])
        for each in ("derive", "split"):
            if each in stream:
                stream[each] = {name: _spelt(text) for name, text in stream[each].items()}
        if len(stream.get("merge", ())) == 1:
            stream["from"] = stream.pop("merge")[0]
    for metric in fields.get("metrics", {}).values():
        metric.pop("description", None)
        metric["expression"] = to_text(canonical(parse(metric["expression"])))
    return Network.model_validate(fields)


def _spelt(text: str) -> str:
    return scalar_text(parse_scalar(text))


def identities(wiring: Wiring) -> dict[str, str]:
    """For each part of a network without problems a hash of what it gives: of its own canonical
    definition and of those of all that it reads, their names apart."""
    fields = network_fields(canonical_network(wiring.network))
    found: dict[str, str] = {}

    def inputs(definition: dict[str, Any]) -> dict[str, Any]:
        def named(name: str) -> str:
            stream, dot, branch = name.partition(".")
            return f"{found[stream]}{dot}{branch}"

        renamed = dict(definition)
        if "from" in renamed:
            renamed["from"] = named(renamed["from"])
        if "merge" in renamed:
            renamed["merge"] = [named(name) for name in renamed["merge"]]
        return renamed

    def add(section: str, name: str) -> None:
        definition = inputs(fields[section][name])
        # The order of derived columns and of branches says something; that of other fields does not.
        pairs = {
            field: list(value.items()) if field in ("derive", "split") else value
            for field, value in definition.items()
        }
        found[name] = hashlib.sha256(json.dumps([section, pairs], sort_keys=True).encode()).hexdigest()

    for name in wiring.network.sources:
        add("sources", name)
    for name in wiring.order:
        add("streams", name)
    for section in ("metrics", "outputs"):
        for name in getattr(wiring.network, section):
            add(section, name)
    return found


def difference(before: Wiring | None, after: Wiring) -> Difference:
    """What changes from ``before``, None where there was nothing, to ``after``; both are without problems."""
    old = {} if before is None else identities(before)
    new = identities(after)
    return Difference(
        new=tuple(name for name in new if name not in old),
        changed=tuple(name for name in new if name in old and old[name] != new[name]),
        kept=tuple(name for name in new if old.get(name) == new[name]),
        removed=tuple(name for name in old if name not in new),
    )


def replaced(stored: StoredNetwork, by: Network, based_on: int, text: str | None = None) -> StoredNetwork:
    """The network that takes the place of ``stored``, proposed by somebody who saw the revision ``based_on``.

    Raises NetworkError, superseded, where somebody else has changed it since.
    """
    if based_on != stored.revision:
        raise NetworkError(
            f"network {stored.network.network!r} is at revision {stored.revision}, and this change was made "
            f"of revision {based_on}: somebody else has changed it since; get it again, "
            "and make the change anew",
            code=Code.SUPERSEDED,
        )
    if by.network != stored.network.network:
        raise NetworkError(
            f"network {by.network!r} cannot take the place of {stored.network.network!r}; give it that name"
        )
    written = network_text(by) if text is None else text
    return StoredNetwork(network=by, revision=stored.revision + 1, text=written)
