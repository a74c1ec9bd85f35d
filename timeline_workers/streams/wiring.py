"""The wiring of a network: what reads what, in which order, with which columns, and all that is wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter

from timeline_workers.errors import ExpressionError, MetricError
from timeline_workers.language.check import check
from timeline_workers.language.kinds import ColumnType, ValueType
from timeline_workers.language.lexicon import column_text
from timeline_workers.language.parser import parse
from timeline_workers.language.scalar_check import check_scalar
from timeline_workers.language.scalar_parser import parse_scalar
from timeline_workers.language.suggestions import nearest

from .network_model import Network, Stream

REST = "rest"
Path = tuple[str | int, ...]
_VALUES: dict[ColumnType, ValueType] = {
    "bool": "bool",
    "int": "number",
    "float": "number",
    "string": "string",
}
_DECLARED: dict[ValueType, ColumnType] = {"bool": "bool", "number": "float", "string": "string"}


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong: ``path``, the fields that lead to it; ``said``, the mistake."""

    path: Path
    said: str | ExpressionError


@dataclass(slots=True)
class Wiring:
    """``order``: the streams, each behind what it reads; ``columns``: of each source, stream and branch, by
    name; ``unread``: sources, streams and branches that nothing reads; ``problems``: all that is wrong."""

    network: Network
    order: list[str] = field(default_factory=list)
    columns: dict[str, dict[str, ValueType]] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def sources_of(self, name: str) -> list[str]:
        """The sources that what comes out at ``name`` comes from, in the order of the file."""
        found: set[str] = set()
        left = [name]
        while left:
            node = stream_of(left.pop())
            if node in self.network.sources:
                found.add(node)
            elif node in self.network.streams:
                left.extend(self.network.streams[node].inputs)
        return [one for one in self.network.sources if one in found]


def stream_of(name: str) -> str:
    """The stream that a branch belongs to; any other name as it is."""
    return name.partition(".")[0]


def branches(name: str, stream: Stream) -> list[str]:
    """The names of the branches of a stream that splits."""
    return [f"{name}.{branch}" for branch in (*stream.split, REST)] if stream.split else []


def readable(network: Network) -> list[str]:
    """All that may stand in ``from``."""
    names = list(network.sources)
    for name, stream in network.streams.items():
        names += [name, *branches(name, stream)]
    return names


def readers(network: Network) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """Each part that reads, by the path to it, with what it reads."""
    for name, stream in network.streams.items():
        yield ("streams", name), stream.inputs
    for name, metric in network.metrics.items():
        yield ("metrics", name), (metric.reads,) if metric.reads else ()
    for name, output in network.outputs.items():
        yield ("outputs", name), (output.reads,) if output.reads else ()


def wire(network: Network) -> Wiring:
    """Wire ``network``; nothing is raised: what is wrong is in ``problems``."""
    wiring = Wiring(network)
    known = readable(network)
    wiring.problems += [*_twice(network), *_names(network, known)]
    read = {name for _, inputs in readers(network) for name in inputs}
    through = {stream_of(name) for name in read}
    for name in known:
        inside = name in read or (name in through and "." not in name)
        splits = name in network.streams and bool(network.streams[name].split)
        if not inside and not splits:
            wiring.unread.append(name)
    sorter: TopologicalSorter[str] = TopologicalSorter()
    for name, stream in network.streams.items():
        sorter.add(name, *(stream_of(one) for one in stream.inputs if stream_of(one) in network.streams))
    try:
        # In the order of the file where nothing else is said, so that drawings and programs are stable.
        wiring.order = list(sorter.static_order())
    except CycleError as error:
        circle = " -> ".join(error.args[1])
        last = error.args[1][0]
        message = f"it reads what it feeds itself: {circle}; a network has no circles, so take out one from"
        wiring.problems.append(Problem(("streams", last, _input_field(network.streams[last])), message))
        return wiring
    for name, source in network.sources.items():
        if not source.columns and not source.changelog:
            message = "a network's source declares its columns; write columns: {NAME: TYPE}"
            wiring.problems.append(Problem(("sources", name, "columns"), message))
        if source.changelog:
            wiring.problems.append(
                Problem(("sources", name, "changelog"), "streams read no changelog; leave it out")
            )
        wiring.columns[name] = {column: _VALUES[spec.type] for column, spec in source.columns.items()}
    for name in wiring.order:
        wiring.problems += _stream(wiring, name, network.streams[name])
    wiring.problems += [*_metrics(wiring), *_outputs(network), *_tests(wiring, known)]
    return wiring


def unknown(name: str, known: list[str], what: str = "source or stream") -> str:
    """The words for a name that is not there."""
    near = nearest(name, known)
    hint = f"did you mean {near}?" if near else f"there are {', '.join(known) or 'none'}"
    return f"there is no {what} {name!r:.70}; {hint}"


def _input_field(stream: Stream) -> str:
    return "merge" if stream.merge else "from"


def _twice(network: Network) -> Iterator[Problem]:
    seen: dict[str, str] = {}
    for section in ("sources", "streams", "metrics", "outputs"):
        for name in getattr(network, section):
            if name in seen:
                message = f"{name!r} is the name of one of the {seen[name]}, too; each name is there once"
                yield Problem((section, name), message)
            seen.setdefault(name, section)


def _names(network: Network, known: list[str]) -> Iterator[Problem]:
    for path, inputs in readers(network):
        section, name = str(path[0]), str(path[1])
        where = _input_field(network.streams[name]) if section == "streams" else "from"
        if not inputs:
            message = f"nothing flows into it; write {where}: NAME, of one of {', '.join(known) or 'none'}"
            yield Problem((*path, where), message)
        for one in inputs:
            if one not in known:
                yield Problem((*path, where), unknown(one, known))
        if len(set(inputs)) < len(inputs):
            yield Problem((*path, where), "one of them is there twice; name each once")


def _stream(wiring: Wiring, name: str, stream: Stream) -> Iterator[Problem]:
    path: Path = ("streams", name)
    if any(one not in wiring.columns for one in stream.inputs):
        return  # that is said already, and what its columns are cannot be
    columns: dict[str, ValueType] = {}
    came: dict[str, str] = {}
    for one in stream.inputs:
        for column, value in wiring.columns.get(one, {}).items():
            if columns.setdefault(column, value) != value:
                message = (
                    f"column {column_text(column)} is a {columns[column]} in {came[column]} and a {value} in "
                    f"{one}; derive one of them as another column"
                )
                yield Problem((*path, "merge"), message)
            came.setdefault(column, one)
    if stream.explode is not None and stream.reads not in wiring.network.sources:
        message = "only a stream that reads a source explodes a list: columns hold none; read the source"
        yield Problem((*path, "explode"), message)
    if stream.where is not None:
        yield from _expression((*path, "where"), stream.where, columns, condition=True)
    for column, text in stream.derive.items():
        place = (*path, "derive", column)
        try:
            columns = {**columns, column: check_scalar(parse_scalar(text), columns, text=text)}
        except (ExpressionError, MetricError) as error:
            yield Problem(place, error if isinstance(error, ExpressionError) else str(error))
            columns = {**columns, column: columns.get(column, "number")}
    for column in stream.sample.by if stream.sample else ():
        if column not in columns:
            yield Problem((*path, "sample", "by"), unknown(column, list(columns), "column"))
    for branch, text in stream.split.items():
        yield from _expression((*path, "split", branch), text, columns, condition=True)
    for one in (name, *branches(name, stream)):
        wiring.columns[one] = columns


def _expression(
    path: Path, text: str, columns: Mapping[str, ValueType], *, condition: bool
) -> Iterator[Problem]:
    try:
        check_scalar(parse_scalar(text), columns, text=text, condition=condition)
    except ExpressionError as error:
        yield Problem(path, error)
    except MetricError as error:
        yield Problem(path, str(error))


def _metrics(wiring: Wiring) -> Iterator[Problem]:
    for name, metric in wiring.network.metrics.items():
        columns = wiring.columns.get(metric.reads or "")
        if columns is None:
            continue
        declared = {column: _DECLARED[value] for column, value in columns.items()}
        try:
            check(parse(metric.expression), declared, text=metric.expression)
        except ExpressionError as error:
            yield Problem(("metrics", name, "expression"), error)


def _outputs(network: Network) -> Iterator[Problem]:
    read = {source.topic: name for name, source in network.sources.items()}
    written: dict[str, str] = {}
    for name, output in network.outputs.items():
        if output.to == "nothing":
            continue
        topic = output.to.topic
        if topic in read:
            message = (
                f"{topic!r} is the topic of source {read[topic]}: it would read what it writes; name another"
            )
            yield Problem(("outputs", name, "to"), message)
        if topic in written:
            message = (
                f"output {written[topic]} writes into {topic!r} already; merge the two, or name another topic"
            )
            yield Problem(("outputs", name, "to"), message)
        written.setdefault(topic, name)


def _tests(wiring: Wiring, known: list[str]) -> Iterator[Problem]:
    named: set[str] = set()
    for number, test in enumerate(wiring.network.tests):
        path: Path = ("tests", number)
        if test.name in named:
            yield Problem(
                (*path, "name"), f"another test is called {test.name!r:.60}; give each its own name"
            )
        named.add(test.name)
        if test.at not in known:
            yield Problem((*path, "at"), unknown(test.at, known))
            continue
        sources = wiring.sources_of(test.at)
        if isinstance(test.input, dict):
            for name in test.input:
                if name not in wiring.network.sources:
                    yield Problem((*path, "input"), unknown(name, list(wiring.network.sources), "source"))
        elif len(sources) != 1:
            message = f"{test.at} has the sources {', '.join(sources)}; write the events under their names"
            yield Problem((*path, "input"), message if sources else f"{test.at} has no source")
        keys = {wiring.network.sources[name].key for name in sources}
        columns = wiring.columns.get(test.at, {})
        for row, expected in enumerate(test.expect):
            for column in expected:
                if column not in ("at", "key") and column not in columns and column not in keys:
                    said = unknown(column, ["at", "key", *columns], "column")
                    yield Problem((*path, "expect", row), said)
