"""Partitions that were added to a topic, as seen in what leaf workers say of themselves."""

from __future__ import annotations

from feeder.fed_group import added, final
from feeder.progress import SILENT, Offset, Reached

RISEN = Reached(SILENT.offset, 40)


def at(watermark: int | None) -> Reached:
    return Reached(Offset(1, 5), watermark)


def test_a_partition_is_an_added_one_where_the_leaves_know_others() -> None:
    journal = {0: at(5), 1: SILENT}
    assert added({"journal": journal, "leaf": journal}, journal, 4) == {2, 3}
    assert added({"journal": {}, "leaf": {}}, {}, 4) == set()
    assert added({"journal": journal, "new": {}}, journal, 2) == set()


def test_it_is_so_until_every_worker_knows_of_it_or_it_has_brought_something() -> None:
    """The feeder may be killed between telling one and the next."""
    journal = {0: at(5), 1: RISEN}
    assert added({"journal": journal, "leaf": {0: at(5)}}, journal, 2) == {1}
    assert added({"journal": journal, "leaf": journal}, journal, 2) == set()
    fed = {0: at(5), 1: at(50)}
    assert added({"journal": fed, "leaf": {0: at(5)}}, fed, 2) == set()


def test_final_is_what_the_furthest_worker_may_have_called_so() -> None:
    progress = {"journal": {0: at(60), 1: at(50)}, "leaf": {0: at(70), 1: at(65), 2: RISEN}, "new": {}}
    assert final(progress) == 50
    assert final(progress, {"journal": (), "leaf": {2}, "new": ()}) == 65


def test_nothing_is_final_while_some_partition_that_was_there_has_no_watermark() -> None:
    assert final({"journal": {}}) is None
    assert final({"journal": {0: at(60), 1: SILENT}, "new": {}}) is None
