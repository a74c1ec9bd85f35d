"""`temporal workflow reset` of every kind of workflow, to the beginning of its run and to its last task."""

from __future__ import annotations

from tests.chaos.by_hand import Where, reset
from tests.chaos.ending_acts import KINDS, until_archived
from tests.chaos.scene import Act, Course, Scene, Step

_WHERE: tuple[Where, ...] = ("first", "last")


def _reset(kind: str, where: Where) -> Step:
    async def inflict(course: Course) -> None:
        if kind == "archive":
            await until_archived(course)
        await reset(course.client, course.of_kind(kind), where)

    return inflict


SCENE = Scene(
    name="reset",
    about="`temporal workflow reset` of every kind of workflow",
    acts=tuple(
        Act(
            f"{kind}-{where}",
            f"{words}: `temporal workflow reset --type {where.title()}WorkflowTask`",
            _reset(kind, where),
            hold=8,
        )
        for kind, words in {**KINDS, "archive": "an archive of keys"}.items()
        for where in _WHERE
        if where == "first" or kind == "leaf"
    ),
)
