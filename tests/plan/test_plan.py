"""The graph of a metric: nodes, names, partitions, workers."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given, strategies as st

from tests.language.strategies import expressions
from timeline_workers.errors import ExpressionError, MetricError
from timeline_workers.language import tree as t
from timeline_workers.language.canonical import canonical, to_text
from timeline_workers.language.parser import parse
from timeline_workers.metric.model import Metric, Source
from timeline_workers.plan.physical import (
    Plan,
    global_workers,
    leaf_predicate,
    partition_labels,
    partition_of,
    plan,
    worker_id,
    workers,
)

CIRR = """duration_where(latest_event_to_state(playerStateChange) == "buffer"
  && has_existed(playerStateChange == "play") && !has_existed_within(userAction == "seek", 5s))"""


def metric(expression: str, **source: Any) -> Metric:
    fields = {"topic": "playback", "key": "session", "time": "timestamp"} | source
    return Metric(name="m", source=Source.model_validate(fields), expression=expression)


def names(plan: Plan) -> set[str]:
    return {node.name for node in plan.nodes}


def test_nodes_of_cirr() -> None:
    """Operators are nodes; predicates and literals are not; children come first and the result last."""
    nodes = plan(metric(CIRR)).nodes
    operators = (
        "equal-to tl-has-existed tl-has-existed-within tl-latest-event-to-state not and and tl-duration-where"
    )
    assert sorted(node.operator for node in nodes) == sorted(operators.split())
    assert nodes[-1].operator == "tl-duration-where"
    kinds = {node.operator: node.kind for node in nodes}
    assert kinds["tl-latest-event-to-state"] == "state"
    assert kinds["equal-to"] == "boolean"
    assert kinds["tl-duration-where"] == "numeric"
    (equal,) = [node for node in nodes if node.operator == "equal-to"]
    assert len(equal.inputs) == 1


@given(expressions)
def test_every_plan_is_a_graph_in_order(expression: t.Expression) -> None:
    """Inputs stand before their node, names are unique, texts read back, and leaves say what they need."""
    made = plan(metric(to_text(expression)))
    seen: list[str] = []
    for node in made.nodes:
        assert set(node.inputs) <= set(seen)
        assert node.name not in seen
        assert node.name.startswith(f"{node.operator}-")
        seen.append(node.name)
        tree = parse(node.expression)
        assert canonical(tree) == tree
        predicate, columns = leaf_predicate(node)
        assert node.is_leaf == bool(columns)
        assert columns == node.columns
        assert predicate is None or node.is_leaf
    assert parse(made.result.expression) == canonical(expression)
    used = {name for node in made.nodes for name in node.inputs}
    assert used == set(seen[:-1])


def test_equal_parts_are_one_node() -> None:
    """A sub-expression that stands twice is one node with two readers."""
    nodes = plan(metric("has_existed(x == 1) && !has_existed(1 == x)")).nodes
    assert sorted(node.operator for node in nodes) == ["and", "not", "tl-has-existed"]


def test_an_operator_may_read_one_node_twice() -> None:
    """Both slots of x == x are there although they hold one node."""
    node = plan(metric("latest_event_to_state(x) == latest_event_to_state(x)")).result
    assert len(node.inputs) == 2
    assert len(set(node.inputs)) == 1


def test_two_metrics_share_what_they_have_in_common() -> None:
    """Equal sub-expressions over sources that refuse the same events have equal names."""
    one = metric(CIRR, columns={"playerStateChange": "string", "userAction": "string"})
    other = metric(
        'has_existed("seek" == userAction) || TL_LatestEventToState(col("playerStateChange")) == "buffer"',
        columns={
            "userAction": "string",
            "playerStateChange": {"type": "string", "path": "playerStateChange"},
        },
    )
    shared = {name.rsplit("-", 1)[0] for name in names(plan(one)) & names(plan(other))}
    assert shared == {"tl-latest-event-to-state", "equal-to"}


@pytest.mark.parametrize(
    "change",
    [
        {"topic": "other"},
        {"key": "user"},
        {"time": "at"},
        {"time_unit": "ms"},
        {"partitions": 2},
        {"partitions": "per-key"},
        {"allowed_lateness": "5s"},
        {"max_ahead": "5s"},
        {"clock_skew": "5s"},
        {"idle_timeout": "5m"},
        {"columns": {"x": "string"}},
        {"columns": {"x": {"type": "int", "path": "data.x"}}},
        {"columns": {"x": {"type": "int", "on_bad_value": "missing"}}},
        {"columns": {"x": "int", "y": "string"}},
    ],
)
def test_what_can_change_an_answer_changes_the_name(change: dict[str, Any]) -> None:
    """A node over another source, or over events of which others are refused, is another worker."""
    here = metric("latest_event_to_state(x)", columns={"x": "int"})
    there = metric("latest_event_to_state(x)", **{"columns": {"x": "int"}, **change})
    assert names(plan(here)).isdisjoint(names(plan(there)))


@pytest.mark.parametrize(
    "change",
    [
        {"columns": {"x": {"type": "int", "path": "x", "on_bad_value": "refuse"}}},
        {"columns": {"x": "int", "y": {"type": "string", "on_bad_value": "missing"}}},
        {"columns": {"x": "int", "same": {"type": "int", "path": "x"}}},
        {"time_unit": "s"},
        {"allowed_lateness": "60m"},
        {"clock_skew": "1m"},
    ],
)
def test_what_cannot_change_an_answer_keeps_the_name(change: dict[str, Any]) -> None:
    """Unused columns that refuse no event, and other ways of writing the same, change no name."""
    here = metric("latest_event_to_state(x)", columns={"x": "int"})
    there = metric("latest_event_to_state(x)", **{"columns": {"x": "int"}, **change})
    assert names(plan(here)) == names(plan(there))


@pytest.mark.parametrize(
    ("one", "other", "share"),
    [
        # Each refuses events for a column that the other does not look at.
        ("has_existed(x == 1)", "has_existed(x == 1) && has_existed(y == 1)", False),
        ("has_existed(x == 1)", "has_existed(x == 1) && has_existed(y > z)", False),
        # Without any declaration, the rest of the expression says what x must be.
        ('latest_event_to_state(x) == "a"', "latest_event_to_state(x) > 1", False),
        ("has_existed(x == y)", "has_existed(x > y)", False),
        ("latest_event_to_state(x) > 1", "latest_event_to_state(x) < 2", True),
        ("duration_where(latest_event_to_state(x) == 1)", "2 == latest_event_to_state(x)", True),
    ],
)
def test_without_declarations_the_whole_expression_decides_who_shares(
    one: str, other: str, share: bool
) -> None:
    """Undeclared columns must be what the whole expression needs, so metrics share only where it needs the
    same of all of them.
    """
    leaves = [{node.name for node in plan(metric(text)).nodes if node.is_leaf} for text in (one, other)]
    assert bool(leaves[0] & leaves[1]) is share


def test_what_earlier_releases_have_stored_keeps_its_names() -> None:
    """A metric as release 0.3.0 wrote it has the names that it had there, until it is applied again; as it is
    written now, release 0.3.0 refuses it instead of looking for workers under other names.
    """
    source = '{"topic":"playback","key":"session","time":"timestamp","columns":{"x":{"type":"string"}}}'
    text = f'{{"name":"m","source":{source},"expression":"latest_event_to_state(x) == \\"a\\""}}'
    stored = Metric.model_validate_json(text)
    assert [node.name for node in plan(stored).nodes] == [
        "tl-latest-event-to-state-c7b030b55b",
        "equal-to-6f19def266",
    ]
    assert "naming" not in stored.model_dump_json()
    assert Metric.model_validate_json(stored.model_dump_json()) == stored
    again = Metric.model_validate(stored.model_dump(exclude={"naming"}))
    assert again != stored
    assert names(plan(again)).isdisjoint(names(plan(stored)))
    assert Metric.model_validate_json(again.model_dump_json()) == again
    assert again.model_dump(mode="json")["naming"] == 2


@pytest.mark.parametrize("bound", [{"retention": 5_000_000}, {"retention": 0}, {"key_ttl": 5_000_000}])
def test_bounds_of_the_state_make_other_workers(bound: dict[str, int]) -> None:
    """Metrics that keep a different past do not share a worker; every worker knows its bounds."""
    here = metric("latest_event_to_state(x) == 1 | aggregate(group_by(y), count)")
    there = here.model_copy(update=bound)
    assert names(plan(here)).isdisjoint(names(plan(there)))
    made = plan(there)
    for spec in [*workers(made, "p0"), *global_workers(made)]:
        assert {"retention": spec.retention, "key_ttl": spec.key_ttl} == {
            "retention": None,
            "key_ttl": None,
            **bound,
        }


def test_what_is_not_set_is_not_written() -> None:
    """A worker of release 0.1.0 reads what a metric without bounds makes, and refuses fields it lacks."""
    made = plan(metric("has_existed(x == 1)"))
    assert not {"retention", "key_ttl"} & set(workers(made, "p0")[0].model_dump())
    assert not {"retention", "key_ttl"} & set(made.metric.model_dump(mode="json"))
    assert "idle_timeout" not in made.metric.source.model_dump_json()
    bounded = metric("has_existed(x == 1)", idle_timeout="5m").model_copy(update={"retention": 0})
    (spec,) = workers(plan(bounded), "p0")
    assert spec.model_dump()["retention"] == 0
    assert type(spec).model_validate_json(spec.model_dump_json()) == spec


def test_names_never_change() -> None:
    """A change of a name would leave running workers behind: it needs new rules of naming beside the old."""
    text = 'latest_event_to_state(x) == "a"'
    new, old = metric(text), metric(text).model_copy(update={"naming": 1})
    assert [node.name for node in plan(new).nodes] == [
        "tl-latest-event-to-state-020ca5ae26",
        "equal-to-f112ef98c3",
    ]
    assert [node.name for node in plan(old).nodes] == [
        "tl-latest-event-to-state-8c5067dc63",
        "equal-to-c8e61683e5",
    ]


def test_node_names_leave_out_the_metrics_name() -> None:
    """Renaming a metric starts no new workers."""
    first = metric(CIRR)
    second = first.model_copy(update={"name": "other", "description": "x"})
    assert plan(first).nodes == plan(second).nodes


def test_leaves_say_which_events_they_need() -> None:
    """An existence leaf has its predicate, a state leaf only its column, a derived node neither."""
    made = plan(
        metric("has_existed(a == 1 && b > c) && latest_event_to_state(d) == 2 && has_existed(has_existed(e))")
    )
    found = {node.expression: leaf_predicate(node) for node in made.nodes}
    assert found["latest_event_to_state(d)"] == (None, ("d",))
    assert found["has_existed(a == 1 && b > c)"] == (parse("a == 1 && b > c"), ("a", "b", "c"))
    assert found["has_existed(has_existed(e))"] == (None, ())
    assert found["latest_event_to_state(d) == 2"] == (None, ())


def test_errors_show_the_metrics_text() -> None:
    """A mistake is shown in the text that the user wrote."""
    with pytest.raises(ExpressionError) as caught:
        plan(metric(CIRR, columns={"playerStateChange": "string", "userActoin": "string"}))
    assert "line 2, column 70" in str(caught.value)
    assert "did you mean userActoin?" in str(caught.value)


def test_partitions_and_workers() -> None:
    """Every partition has every node's worker, children first, each reading its own partition's."""
    made = plan(metric(CIRR, partitions=3))
    assert partition_labels(made) == ("p0", "p1", "p2")
    specs = workers(made, "p1")
    assert [spec.node for spec in specs] == list(made.nodes)
    known: set[str] = set()
    for spec in specs:
        assert spec.worker_id == worker_id(spec.node.name, "p1") == f"{spec.node.name}.p1"
        assert spec.source == made.metric.source
        assert spec.inputs == tuple((f"{name}.p1",) for name in spec.node.inputs)
        assert all(slot[0] in known for slot in spec.inputs)
        known.add(spec.worker_id)
    assert global_workers(made) == []


def test_an_unknown_partition_is_refused() -> None:
    """A partition that the source does not have is named in the error."""
    with pytest.raises(MetricError, match="no partition 'p3'"):
        workers(plan(metric(CIRR, partitions=3)), "p3")


def test_an_aggregate_has_one_worker_that_hears_all_partitions() -> None:
    """The aggregate's slots are what is aggregated and the group's column, each over every partition."""
    made = plan(metric(f"{CIRR} | aggregate(group_by(region), sum, count)", partitions=2))
    (top,) = global_workers(made)
    of, group = top.node.inputs
    assert top.node == made.result
    assert top.node.kind == "numeric"
    assert top.worker_id == f"{top.node.name}.all"
    assert top.inputs == ((f"{of}.p0", f"{of}.p1"), (f"{group}.p0", f"{group}.p1"))
    specs = {node.name: node.expression for node in made.nodes}
    assert specs[group] == "latest_event_to_state(region)"
    assert specs[of].startswith("duration_where(")
    assert top.node not in [spec.node for spec in workers(made, "p0")]


def test_a_group_column_used_elsewhere_is_one_leaf() -> None:
    """group_by(x) reads the leaf that the expression has already."""
    made = plan(metric('latest_event_to_state(x) == "a" | aggregate(group_by(x), count)'))
    assert len(made.nodes) == 3


def test_aggregates_need_a_number_of_partitions() -> None:
    """An aggregate over a worker for each key is refused, with the fix."""
    with pytest.raises(MetricError, match="partitions: 4"):
        plan(metric("has_existed(x) | aggregate(group_by(y), count)", partitions="per-key"))


def test_per_key_partitions() -> None:
    """With per-key, partitions come from keys: readable, different for different keys, any one accepted."""
    made = plan(metric(CIRR, partitions="per-key"))
    source = made.metric.source
    assert partition_labels(made) == ()
    label = partition_of("Session 1/ü", source)
    assert label.startswith("key-session-1-")
    assert len({partition_of(key, source) for key in ("1", 1, "a b", "a-b", "A B", "", "é", "è")}) == 8
    assert all(spec.worker_id == f"{spec.node.name}.{label}" for spec in workers(made, label))


@given(st.text() | st.integers(-(2**63), 2**63 - 1), st.integers(1, 4096))
def test_a_key_has_a_partition(key: str | int, partitions: int) -> None:
    """Any key, text or number, belongs to one of the source's partitions."""
    source = Source(topic="t", key="k", time="t", partitions=partitions)
    label = partition_of(key, source)
    assert label[0] == "p"
    assert 0 <= int(label[1:]) < partitions


def test_keys_spread_over_partitions() -> None:
    """Keys such as sessions have fill all partitions about evenly."""
    source = Source(topic="t", key="k", time="t", partitions=4)
    labels = [partition_of(f"session-{i}", source) for i in range(4_000)]
    assert all(800 < labels.count(f"p{i}") < 1_200 for i in range(4))


def test_another_process_gives_the_same_plan_and_partitions() -> None:
    """Names and partitions do not hang on the process, whose string hashes differ."""
    code = (
        "from timeline_workers.plan.physical import plan, partition_of\n"
        "from timeline_workers.metric import Metric, Source\n"
        "s = Source(topic='playback', key='session', time='timestamp', partitions=7)\n"
        f"print([n.name for n in plan(Metric(name='m', source=s, expression={CIRR!r})).nodes])\n"
        "print([partition_of(k, s) for k in ('a', 'b', 1, '1')])\n"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    made = plan(metric(CIRR, partitions=7))
    here = (
        [node.name for node in made.nodes],
        [partition_of(k, made.metric.source) for k in ("a", "b", 1, "1")],
    )
    assert other == f"{here[0]}\n{here[1]}\n"


def test_plans_survive_json() -> None:
    """A plan sent between processes as JSON reads back equal."""
    made = plan(metric(f"{CIRR} | aggregate(group_by(region), sum)", columns={}, partitions=2))
    assert Plan.model_validate_json(made.model_dump_json()) == made
