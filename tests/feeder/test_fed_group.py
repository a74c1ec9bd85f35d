"""A group while it is fed: which of its leaves live, and which partitions were added to its topic."""

from __future__ import annotations

from feeder.delivery.fed_group import MetricGroupFeed, Waiting, added, final, lacking, stand
from feeder.delivery.leaf_delivery import workers_of
from feeder.positions import SILENT, Offset, Reached
from tests.feeder.test_router import group, leaf_named
from timeline_workers.plan.physical import worker_id

RISEN = Reached(SILENT.offset, 40)


def at(watermark: int | None) -> Reached:
    return Reached(Offset(1, 5), watermark)


def test_an_added_partition_is_one_some_leaves_lack() -> None:
    """A partition is an added one where the leaves know others."""
    committed = {0: at(5), 1: SILENT}
    assert added({"journal": committed, "leaf": committed}, committed, 4) == {2, 3}
    assert added({"journal": {}, "leaf": {}}, {}, 4) == set()
    assert added({"journal": committed, "new": {}}, committed, 2) == set()


def test_a_partition_stays_added_until_all_know_it() -> None:
    """The feeder may be killed between telling one and the next."""
    committed = {0: at(5), 1: RISEN}
    assert added({"journal": committed, "leaf": {0: at(5)}}, committed, 2) == {1}
    assert added({"journal": committed, "leaf": committed}, committed, 2) == set()
    fed = {0: at(5), 1: at(50)}
    assert added({"journal": fed, "leaf": {0: at(5)}}, fed, 2) == set()


def test_final_is_what_the_furthest_worker_called_final() -> None:
    """Final is what the furthest worker may have called so."""
    progress = {"journal": {0: at(60), 1: at(50)}, "leaf": {0: at(70), 1: at(65), 2: RISEN}, "new": {}}
    assert final(progress) == 50
    assert final(progress, {"journal": (), "leaf": {2}, "new": ()}) == 65


def test_nothing_is_final_while_a_partition_lacks_a_watermark() -> None:
    """Nothing is final while some partition that was there has no watermark."""
    assert final({"journal": {}}) is None
    assert final({"journal": {0: at(60), 1: SILENT}, "new": {}}) is None


def test_leaves_that_wait_hold_back_acknowledgements() -> None:
    """Leaves that wait for the past are not fed and hold back acknowledgements."""
    fed = MetricGroupFeed(group(), 1)
    first, second = sorted(fed.group.leaves)
    assert (fed.live, fed.lacks_past) == (fed.group, False)
    fed.waiting = Waiting(frozenset({first}), whole=False)
    assert (list(fed.live.leaves), fed.whole, fed.lacks_past) == ([second], False, True)
    assert list(fed.router.group.leaves) == [second]
    fed.waiting = Waiting(frozenset({first, second}), whole=True)
    assert (fed.whole, fed.lacks_past) == (True, True)
    fed.waiting = None
    assert (fed.live, fed.lacks_past) == (fed.group, False)
    assert fed.router.group is fed.group


def test_the_first_worker_says_what_its_leaf_lacks() -> None:
    """It hears last: when it has everything, the others of the leaf were at most not told."""
    fed = MetricGroupFeed(group(), 1)
    state, existence = (
        leaf_named(fed.group, name) for name in ("tl-latest-event-to-state", "tl-has-existed")
    )
    fed.start(0, at(5))
    progress: dict[str, dict[int, Reached]] = {worker_id(state, "p0"): {0: at(5)}}
    assert lacking(fed, progress) == {existence}
    assert fed.unchecked
    fed.level[0] = frozenset({existence})
    assert lacking(fed, progress) == set()
    progress[worker_id(existence, "p2")] = {0: at(5)}
    fed.look_again()
    assert lacking(fed, progress) == {existence}
    progress[worker_id(existence, "p0")] = {0: at(5)}
    assert lacking(fed, progress) == set()


def test_a_group_begins_anew_after_a_half_first_batch() -> None:
    """The feeder was killed while it delivered it: the commit leaf, which hears last, has had nothing."""
    fed = group()
    committed, _ = fed.commit_leaf()
    everyone = [worker for worker, _ in workers_of(fed)]
    progress = {worker: {0: at(5)} for worker in everyone if worker != committed}
    assert stand(fed, progress) == {0: SILENT}
    assert stand(fed, {**progress, committed: {0: SILENT}}) == {0: SILENT}
    assert stand(fed, {**progress, committed: {0: RISEN}}) == {0: RISEN}
    assert stand(fed, {everyone[-1]: {0: at(5)}}) == {0: SILENT}
    assert stand(fed, {**progress, committed: {0: at(5)}}) == {0: at(5)}


def test_a_leaf_without_messages_is_new() -> None:
    """A leaf that has had nothing is new also when it is the journal."""
    fed = group()
    new = fed.commit_leaf()[0].rpartition(".")[0]
    others = {worker: {0: at(5)} for worker, _ in workers_of(fed) if worker.rpartition(".")[0] != new}
    assert stand(fed, others) == {0: at(5)}
    behind = Reached(Offset(1, 3), 2)
    assert stand(fed, {**others, min(others): {0: behind}}) == {0: behind}
    assert stand(fed, {}) == {}


def test_an_ended_worker_lacks_the_past() -> None:
    """One that has begun to read it is known by its own word: how far it is says nothing of what it lacks."""
    fed = MetricGroupFeed(group(), 1)
    state, existence = (
        leaf_named(fed.group, name) for name in ("tl-latest-event-to-state", "tl-has-existed")
    )
    fed.start(0, at(5))
    progress = {worker: {0: at(5)} for worker, _ in workers_of(fed.group)}
    assert lacking(fed, progress) == set()
    assert lacking(fed, progress, {worker_id(existence, "p2")}) == {existence}
    fed.level[0] = frozenset({existence})
    assert lacking(fed, progress, {worker_id(existence, "p2")}) == set()
    assert lacking(fed, progress, {worker_id(state, "p1")}) == {state}


def test_a_group_goes_on_where_a_worker_ended() -> None:
    """Of the leaf with such a worker the past is read apart; where no leaf is whole, for all of them."""
    fed = group()
    committed, _ = fed.commit_leaf()
    everyone = [worker for worker, _ in workers_of(fed)]
    had = {worker: {0: at(5)} for worker in everyone}
    lost = next(worker for worker in everyone if worker != committed)
    assert stand(fed, {**had, lost: {}}, {lost}) == {0: at(5)}
    assert stand(fed, {**had, committed: {}}, {committed}) == {0: at(5)}
    early = Reached(Offset(1, 1), 1)
    assert stand(fed, {**had, committed: {0: early}}, {committed}) == {0: at(5)}
    one_each = {worker for worker in everyone if worker.endswith(".p1")}
    assert len(one_each) > 1
    assert stand(fed, {**had, **{worker: {} for worker in one_each}}, one_each) == {0: SILENT}
    assert stand(fed, had, set(everyone)) == {0: at(5)}


def test_a_new_leaf_gets_the_past_among_incomplete_ones() -> None:
    """A metric that is applied within seconds of another: neither is complete, and only one has been fed."""
    fed = MetricGroupFeed(group(), 1)
    state, existence = (
        leaf_named(fed.group, name) for name in ("tl-latest-event-to-state", "tl-has-existed")
    )
    fed.start(0, at(5))
    progress = {worker_id(state, label): {0: at(5)} for label in fed.live.labels}
    incomplete = {worker for worker, _ in workers_of(fed.group)}
    assert lacking(fed, progress, incomplete) == {existence}
    ended = {**progress, worker_id(state, "p1"): {}}
    assert lacking(fed, ended, incomplete) == {existence, state}
