"""Whether what a partition holds is read from the past, or is about to be fed by another feeder."""

from __future__ import annotations

from feeder.fed_group import LONGEST_UNFED_SECONDS, UNFED_SECONDS, FedGroup
from feeder.progress import Offset
from tests.feeder.test_route import group

HERE, THERE = Offset(1, 5), Offset(1, 9)


def test_what_lies_where_the_leaves_do_not_move_is_not_about_to_be_fed() -> None:
    fed = FedGroup(group(), 4)
    assert fed.may_be_fed({1: HERE, 2: None})
    assert not fed.may_be_fed({1: THERE, 2: None})
    assert fed.undelivered is None
    assert fed.may_be_fed({1: THERE}), "it is asked anew"


def test_where_the_leaves_move_it_is_looked_ever_less_often() -> None:
    fed, pauses = FedGroup(group(), 1), []
    for at in range(8):
        assert fed.may_be_fed({0: Offset(1, at)})
        assert fed.undelivered is not None
        pauses.append(fed.undelivered.pause)
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (UNFED_SECONDS, LONGEST_UNFED_SECONDS)


def test_nothing_undelivered_is_nothing_to_wait_for() -> None:
    fed = FedGroup(group(), 2)
    assert fed.may_be_fed({0: HERE})
    assert not fed.may_be_fed({})
    assert fed.may_be_fed({0: HERE}), "what was there before has been fed meanwhile"
