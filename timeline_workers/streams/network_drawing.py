"""Drawings of a network, wired or not: text for the terminal, and Mermaid.

The order is that of the file. What nothing flows into, or nothing reads, is a free port: in the drawing it
is dashed, and so is a name that is not there.
"""

from __future__ import annotations

from .network_model import Network
from .wiring import Wiring, readable, readers, stream_of

_SHAPES = {
    "sources": ('[("', '")]'),
    "streams": ('["', '"]'),
    "metrics": ('(["', '"])'),
    "outputs": ('[/"', '"/]'),
}
_SECTIONS = ("sources", "streams", "metrics", "outputs")


def _lines(network: Network, section: str, name: str) -> list[str]:
    """What a part does, a line for each thing."""
    part = getattr(network, section)[name]
    if section == "sources":
        return [f"topic {part.topic}"]
    if section == "metrics":
        return [part.expression]
    if section == "outputs":
        return ["nothing" if part.to == "nothing" else f"topic {part.to.topic}"]
    found = [f"explode {part.explode}"] if part.explode else []
    found += [f"where {part.where}"] if part.where else []
    found += [f"{column} = {text}" for column, text in part.derive.items()]
    if part.sample:
        found.append(f"one in {part.sample.one_in} by {', '.join(part.sample.by) or 'key'}")
    found += [f"{branch} if {text}" for branch, text in part.split.items()]
    return [*found, "rest"] if part.split else found


def network_tree(wiring: Wiring) -> str:
    """The network as text: each part with what it reads and what it does."""
    network = wiring.network
    inputs: dict[tuple[str | int, ...], tuple[str, ...]] = dict(readers(network))
    known = readable(network)
    lines = [f"network {network.network}"]
    for section in _SECTIONS:
        for name in getattr(network, section):
            reads = inputs.get((section, name))
            came = ""
            if reads is not None:
                named = [one if one in known else f"{one} (unknown)" for one in reads]
                came = f" <- {', '.join(named) or '(free)'}"
            lines.append(f"{section[:-1]} {name}{came}")
            lines += [f"    {line}" for line in _lines(network, section, name)]
    free = wiring.unread
    if free:
        lines.append(f"nothing reads: {', '.join(free)}")
    return "\n".join(lines) + "\n"


def network_mermaid(wiring: Wiring) -> str:
    """The network in Mermaid's language, events flowing from left to right."""
    network = wiring.network
    ids: dict[str, str] = {}
    lines = ["flowchart LR"]
    for section in _SECTIONS:
        opening, closing = _SHAPES[section]
        for name in getattr(network, section):
            ids[name] = f"n{len(ids)}"
            text = "<br/>".join(map(_mermaid, [f"{section[:-1]} {name}", *_lines(network, section, name)]))
            lines.append(f"    {ids[name]}{opening}{text}{closing}")
    free = 0

    def port(text: str) -> str:
        nonlocal free
        free += 1
        lines.append(f'    free{free}(("{_mermaid(text)}")):::free')
        return f"free{free}"

    for (_, name), reads in readers(network):
        for one in reads:
            stream = stream_of(one)
            branch = f'-- "{_mermaid(one.partition(".")[2])}" -->' if "." in one else "-->"
            if one in readable(network):
                lines.append(f"    {ids[stream]} {branch} {ids[str(name)]}")
            else:
                lines.append(f"    {port(f'unknown: {one}')} -.-> {ids[str(name)]}")
        if not reads:
            lines.append(f"    {port('free')} -.-> {ids[str(name)]}")
    for name in wiring.unread:
        lines.append(f"    {ids[stream_of(name)]} -.-> {port(name.partition('.')[2] or 'free')}")
    lines.append("    classDef free stroke-dasharray:4")
    return "\n".join(lines) + "\n"


def _mermaid(text: str) -> str:
    """``text`` with all that Mermaid or Markdown might read as their own as character codes."""
    return "".join(c if c.isalnum() or c in " .,_-():/+" else f"#{ord(c)};" for c in text)
