"""Layout of a plan: where Graphviz puts its nodes and edges, for whoever draws it.

Coordinates are points (1/72 inch) from the upper left corner, y downwards; events flow upwards, from the
source to the result. ``to_svg`` of ``drawing`` draws the same picture.
"""

from __future__ import annotations

import json
from typing import Any, Final

from pydantic import BaseModel, ConfigDict

from .drawing import render, to_dot
from .physical import Plan

SOURCE: Final = "source"
_INCH: Final = 72.0
_FRAME = "cluster_fused"
_FORM = "json0"


class Box(BaseModel):
    """A rectangle around its centre ``(x, y)``. ``name``: of the node; ``source``: the topic."""

    model_config = ConfigDict(frozen=True)

    name: str
    x: float
    y: float
    width: float
    height: float


class Line(BaseModel):
    """An edge ``from_node`` to ``to_node``. ``points``: of a cubic B-spline, the first where it begins, then
    three for each stretch; ``arrow``: where its point is; ``label``: which input it is, or the columns.
    """

    model_config = ConfigDict(frozen=True)

    from_node: str
    to_node: str
    label: str
    points: list[tuple[float, float]]
    arrow: tuple[float, float] | None


class Layout(BaseModel):
    """A picture of ``width`` by ``height``. ``frame``: the box around the nodes that one worker computes."""

    model_config = ConfigDict(frozen=True)

    width: float
    height: float
    boxes: list[Box]
    lines: list[Line]
    frame: Box | None = None


def warm() -> None:
    """Have Graphviz loaded and compiled, so that the first picture takes no longer than any other."""
    render("digraph { a -> b }", _FORM, "")


def layout(plan: Plan) -> Layout:
    """Where everything of ``plan`` is. Raises MetricError where Graphviz fails."""
    drawn = json.loads(render(to_dot(plan), _FORM, plan.metric.name))
    _, _, width, height = map(float, drawn["bb"].split(","))
    objects = {one["_gvid"]: one for one in drawn["objects"]}
    boxes = [_box(one, height) for one in drawn["objects"] if "pos" in one]
    frame = next((_frame(one, height) for one in drawn["objects"] if one["name"] == _FRAME), None)
    lines = [
        _line(one, objects[one["tail"]]["name"], objects[one["head"]]["name"], height)
        for one in drawn.get("edges", ())
    ]
    return Layout(width=width, height=height, boxes=boxes, lines=lines, frame=frame)


def _point(text: str, height: float) -> tuple[float, float]:
    x, y = text.split(",")
    return round(float(x), 2), round(height - float(y), 2)


def _box(one: dict[str, Any], height: float) -> Box:
    x, y = _point(one["pos"], height)
    return Box(
        name=one["name"],
        x=x,
        y=y,
        width=round(float(one["width"]) * _INCH, 2),
        height=round(float(one["height"]) * _INCH, 2),
    )


def _frame(one: dict[str, Any], height: float) -> Box:
    left, low, right, high = map(float, one["bb"].split(","))
    return Box(
        name="fused",
        x=round((left + right) / 2, 2),
        y=round(height - (low + high) / 2, 2),
        width=round(right - left, 2),
        height=round(high - low, 2),
    )


def _line(one: dict[str, Any], tail: str, head: str, height: float) -> Line:
    parts = one["pos"].split()
    ends = [part.removeprefix("e,") for part in parts if part.startswith("e,")]
    return Line(
        from_node=tail,
        to_node=head,
        label=one.get("label", ""),
        points=[_point(part, height) for part in parts if not part.startswith(("e,", "s,"))],
        arrow=_point(ends[0], height) if ends else None,
    )
