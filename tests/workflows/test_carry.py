"""How carried state is cut for what one workflow task may send."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, strategies as st

from workflows.carry import AT_ONCE_BYTES, together

GRPC_BYTES = 4 * 1024 * 1024


@given(st.lists(st.binary(max_size=30)), st.integers(0, 40))
def test_parts_go_together_in_order_and_never_beyond_the_bound_unless_one_is(
    parts: list[bytes], most: int
) -> None:
    runs = list(together(parts, most))
    assert [part for run in runs for part in run] == parts
    for run in runs:
        assert run
        assert len(run) == 1 or sum(map(len, run)) <= most
    for run, after in pairwise(runs):
        assert sum(map(len, run)) + len(after[0]) > most, "they would have gone together"


def test_large_entries_of_an_archive_do_not_pass_what_a_task_may_send() -> None:
    runs = list(together([bytes(1024 * 1024)] * 5, AT_ONCE_BYTES))
    assert max(sum(map(len, run)) for run in runs) < GRPC_BYTES * 3 // 4
    assert len(runs) == 3
