"""The nodes of one worker by name, where it computes several (``fuse: true``): which of them a question is
about, how far each is, and reading it.

A node's watermark is the least of the leaves that it rests on, as it would be in a worker of its own: a leaf
that lags keeps no answer from being final that does not need it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from timeline_workers.algebra.nodes.fused import derived_of
from timeline_workers.algebra.nodes.protocol import Part
from timeline_workers.algebra.timeline.timelines import Timeline
from timeline_workers.answers.answer_models import KindName
from timeline_workers.answers.reader import Reader
from timeline_workers.errors import Code, QuestionError, StateError
from timeline_workers.language.canonical import to_text
from timeline_workers.language.parser import parse
from timeline_workers.language.suggestions import nearest
from timeline_workers.language.tree import Expression
from timeline_workers.plan.physical import InnerNode, NodeSpec, WorkerSpec
from timeline_workers.wire.source_progress import least, watermark

from .archive_segment import Segment

if TYPE_CHECKING:
    from .node_worker import NodeWorker

_EXPRESSION_LENGTH = 200


def names(spec: WorkerSpec) -> list[str]:
    """The names of the worker's nodes, children first; the last is the one it is named for."""
    return [*(node.name for node in spec.fused), spec.node.name]


def place_of(spec: WorkerSpec, name: str | None) -> int:
    """The place of the node called ``name`` (None: the last one) among ``names``."""
    return len(spec.fused) if name is None else names(spec).index(name)


def check_name(spec: WorkerSpec, question: Mapping[str, Any]) -> None:
    """Raise QuestionError when ``question`` names a node that the worker does not compute."""
    name, known = question.get("node"), names(spec)
    if name is None or name in known:
        return
    near = nearest(str(name), known)
    hint = f"did you mean {near!r}?" if near else f"it computes {', '.join(known[-10:])}"
    raise QuestionError(f"worker {spec.worker_id} has no node {name!r}; {hint}", code=Code.UNKNOWN_NODE)


def reader(worker: NodeWorker, name: str | None, unit: str, function: object = None) -> Reader:
    """What answers for the node called ``name`` (None: the one the worker is named for), of an aggregate for
    ``function`` (None: the only one). Raises QuestionError when that has to be said."""
    spec, place = worker.spec, place_of(worker.spec, name)
    part = _parts(worker)[place]
    named, output = part.output(function)
    keys, numbers = worker.node.known
    return Reader(
        output,
        keys,
        spec.node.kind if place == len(spec.fused) else spec.fused[place].kind,
        part.expression,
        unit=unit,
        watermark=_watermark(worker, part),
        aggregate=named,
        numbers=numbers,
        answerable_from=part.answerable_from,
        retention=spec.retention,
        before=worker.node.before,
    )


def archived(
    spec: WorkerSpec, segment: Segment, question: Mapping[str, Any]
) -> tuple[Timeline, KindName, Expression, int | None]:
    """Timeline, kind, expression and ``answerable_from`` of the node that ``question`` is about, in a segment
    of the worker's keys."""
    check_name(spec, question)
    place = place_of(spec, question.get("node"))
    expression = parse(spec.node.expression)
    if place == len(spec.fused) or not segment.rows.inner:
        return segment.rows.output, spec.node.kind, expression, segment.answerable_from
    inner, kind = derived_of(expression)[place], spec.fused[place].kind
    return segment.rows.inner[place], kind, inner, segment.inner_answerable_from[place]


def statuses(worker: NodeWorker) -> dict[str, dict[str, Any]]:
    """By name, what every node is, holds and how far it is, as plain JSON; long expressions are cut."""
    spec, found = worker.spec, {}
    every: list[InnerNode | NodeSpec] = [*spec.fused, spec.node]
    for about, part in zip(every, _parts(worker), strict=True):
        text = to_text(part.expression)
        found[about.name] = {
            "operator": about.operator,
            "expression": text if len(text) <= _EXPRESSION_LENGTH else f"{text[:_EXPRESSION_LENGTH]}…",
            "kind": about.kind,
            "change_points": sum(map(len, part.outputs.values())),
            "watermark": _watermark(worker, part),
            "answerable_from": part.answerable_from,
        }
    return found


def _watermark(worker: NodeWorker, part: Part) -> int | None:
    if len(part.slots) == len(worker.spec.inputs):
        return watermark(worker.progress)
    edges = (edge for edges in worker.inbound.values() for edge in edges)
    return watermark(least([edge.progress for edge in edges if edge.slot in part.slots]))


def _parts(worker: NodeWorker) -> Sequence[Part]:
    parts = worker.node.parts()
    if len(parts) != len(names(worker.spec)):
        raise StateError(f"{worker.spec.worker_id} does not compute the nodes that it names")
    return parts
