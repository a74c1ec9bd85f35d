"""Tables of text: within the width, no word broken, nothing left out."""

from __future__ import annotations

from hypothesis import given, strategies as st

from timeline_workers.cli.get_table import table
from timeline_workers.cli.text_table import drawn

WORDS = st.text("abcdé ", max_size=60).map(lambda text: " ".join(text.split()))
ROWS = st.integers(1, 5).flatmap(
    lambda columns: st.lists(
        st.fixed_dictionaries({f"column{n}": WORDS for n in range(columns)}), min_size=1, max_size=4
    )
)


@given(ROWS, st.integers(80, 120))
def test_tables_fit_and_break_no_word(rows: list[dict[str, str]], width: int) -> None:
    told = drawn(rows, width=width)
    assert max(map(len, told.splitlines())) <= width
    shown = told.split()
    for row in rows:
        for text in row.values():
            assert all(word in shown for word in text.split())


def test_what_does_not_fit_is_a_record() -> None:
    """As long names of workers: they are left whole, on a line of their own."""
    long = "x" * 50
    assert drawn([{"worker": long, "node": long, "n": "1"}] * 2, width=80) == (
        f"worker  {long}\nnode    {long}\nn       1\n\nworker  {long}\nnode    {long}\nn       1\n"
    )
    assert drawn([{"a": "1", "what": "this and that and something else"}], width=22) == (
        " a   what\n ─────────────────────\n 1   this and that and\n     something else\n"
    )


def test_wide_is_no_wider_than_the_terminal() -> None:
    row = {"metric": "m", "state": "ok", "workers": "1/1", "causes": ("why it is so",)}
    told = table([row | {f"field_{n}": "y" * 20 for n in range(9)}], wide=True)
    assert max(map(len, told.splitlines())) <= 80
    assert told.count("y" * 20) == 9
    assert told.endswith("\n\nm: why it is so\n")
