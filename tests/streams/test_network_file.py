"""Files of networks: what is wrong is named with its line; builder, canonical form and difference."""

from __future__ import annotations

from pathlib import Path

import pytest

from timeline_workers.errors import Code, NetworkError
from timeline_workers.streams.network_builder import NetworkBuilder
from timeline_workers.streams.network_difference import (
    Difference,
    StoredNetwork,
    canonical_network,
    difference,
    replaced,
)
from timeline_workers.streams.network_drawing import network_mermaid, network_tree
from timeline_workers.streams.network_file import load_loose, load_network, network_text
from timeline_workers.streams.network_trial import run_test
from timeline_workers.streams.wiring import Wiring

BETS = (Path(__file__).parents[2] / "examples/bets/network.yaml").read_text(encoding="utf-8")


def changed(*pairs: tuple[str, str]) -> str:
    text = BETS
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    return text


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("    from: clean", "    from: claen", "line 26: streams.size.from: there is no source or stream"),
        ("explode: bets", "explde: bets", "line 18: streams.single.explde: there is no such field"),
        ("stake > 0", "stak > 0", "line 21, column 12: there is no column stak here"),
        ("lower(trim(game))", "lowr(trim(game))", "line 23, column 13: there is no function `lowr` of"),
        ("[bets, single]", "[bets, single, size.small]", "feeds itself: clean -> size -> clean"),
        ("    from: clean", "    from: clean\n    dedupe: {by: [game]}", "no release has this operator yet"),
        ("  single: {from: slips", "  bets: {from: slips", "'bets' is the name of one of the sources"),
        ("  single: {from: slips", "  nothing: {from: slips", "'nothing' is a reserved name"),
        ("  single: {from: slips", "  clean: {from: slips", "'clean' is there twice"),
        ("{topic: clean-bets}", "{topic: bets}", "it would read what it writes"),
        ("    at: clean", "    at: clan", "tests.1.at: there is no source or stream 'clan'"),
        ("game: chess,", "gme: chess,", "there is no column 'gme'; did you mean game?"),
        ("from: size.large", "from: size.lage", "did you mean size.large?"),
        ("    from: clean", "    from: clean\n    explode: game", "that reads a source explodes"),
        ("margin > 50, 10m", "margn > 50, 10m", "the source declares no column margn"),
        ("to: nothing", "to: nowhere", "write nothing, or {topic: NAME}"),
    ],
)  # fmt: skip
def test_mistakes_are_named_with_place_and_fix(old: str, new: str, said: str) -> None:
    with pytest.raises(NetworkError) as caught:
        load_network(changed((old, new)))
    assert said in str(caught.value)
    assert caught.value.code is Code.WRONG_NETWORK


def test_one_mistake_is_said_once() -> None:
    """What stands behind a stream with a mistake is not blamed for it."""
    with pytest.raises(NetworkError) as caught:
        load_network(changed(("    from: clean", "    from: claen")))
    assert str(caught.value).count("\n") == 0


def built(where: str = "stake > 0 && odds >= 1") -> Wiring:
    """The network of the example, without its tests."""
    net = NetworkBuilder("bets")
    columns = {"stake": "float", "odds": "float", "game": "string"}
    bets = net.source("bets", topic="bets", key="customer", time="at", columns=columns)
    inside = {name: {"type": of, "path": f"bets.{name}"} for name, of in columns.items()}
    slips = net.source("slips", topic="slips", key="customer", time="at", columns=inside)
    single = net.stream("single", slips, explode="bets")
    margin = {"game": "lower(trim(game))", "margin": "round(stake * (odds - 1), 2)"}
    clean = net.stream("clean", bets, single, where=where, derive=margin)
    net.stream("size", clean, split={"large": "margin > 50", "small": "margin > 1"})
    net.metric("large_bets", "size.large", "event_count_within(margin > 50, 10m)")
    net.output("back", clean, topic="clean-bets")
    net.output("crumbs", "size.rest")
    return net.build()


def test_builder_and_file_give_one_tree() -> None:
    """Also after it was written and read again."""
    from_file = load_network(BETS).network.model_copy(update={"tests": ()})
    assert built().network == from_file
    assert load_network(network_text(from_file)).network == from_file
    spelt = canonical_network(from_file)
    assert canonical_network(spelt) == spelt == canonical_network(built("((stake>0)) & odds>=1").network)


def test_difference_names_what_is_touched() -> None:
    """A stream that changes takes along what reads it, and nothing else; spelling changes nothing."""
    before = load_network(BETS)
    everything = ("bets", "slips", "single", "clean", "size", "large_bets", "back", "crumbs")
    assert difference(None, before) == Difference(new=everything)
    assert difference(before, built("stake > 0 & odds >= 1")) == Difference(kept=everything)
    text = changed(
        ("margin > 1}", "margin > 2}"),
        ("  crumbs: {from: size.rest, to: nothing}", "  few: {from: size.small, to: nothing}"),
    )
    assert difference(before, load_network(text)) == Difference(
        new=("few",),
        changed=("size", "large_bets"),
        kept=("bets", "slips", "single", "clean", "back"),
        removed=("crumbs",),
    )


def test_a_stale_revision_is_refused() -> None:
    """Of two who saw one revision, the second is told; the text comes back with its comments."""
    stored = StoredNetwork.first(load_network(BETS).network, BETS)
    later = built("stake > 1").network
    second = replaced(stored, later, based_on=1)
    assert second.revision == 2
    assert stored.text == BETS
    assert load_network(second.text).network == later
    with pytest.raises(NetworkError, match="at revision 2, and this change was made of revision 1") as caught:
        replaced(second, later, based_on=1)
    assert caught.value.code is Code.SUPERSEDED


def test_what_is_not_wired_is_drawn_as_free() -> None:
    """Both ends, in the order of the file, and names that are not there."""
    text = """
network: loose
sources: {bets: {topic: bets, key: k, time: t, columns: {x: int}}}
streams:
  lone: {where: 'x > 1'}
  lost: {from: bts}
"""
    wiring = load_loose(text)
    assert network_tree(wiring).splitlines()[1:] == [
        "source bets",
        "    topic bets",
        "stream lone <- (free)",
        "    where x > 1",
        "stream lost <- bts (unknown)",
        "nothing reads: bets, lone, lost",
    ]
    drawn = network_mermaid(wiring)
    assert drawn == network_mermaid(load_loose(text))
    assert drawn.count("-.->") == 5
    with pytest.raises(NetworkError, match="nothing flows into it"):
        load_network(text)


def test_a_test_of_the_file_fails_where_it_should() -> None:
    """Values, missing and superfluous events and refusals are told apart."""
    text = changed(
        ("margin: 23}", "margin: 24}"),
        ("    refused: 1\n", ""),
        ("odds: 2}]}", "odds: 2}, {stake: 5, odds: 3}]}"),
    )
    wiring = load_network(text)
    first, second = (run_test(wiring, test).differences for test in wiring.network.tests)
    assert first == ["event 1: margin is 23.0, and 24 expected"]
    assert second[0].startswith("event 3: not expected: customer 'B'")
    assert second[1].startswith(
        "1 event refused, and 0 expected\n  single: event 1, element 2: column 'stake'"
    )
