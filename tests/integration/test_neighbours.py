"""Metrics beside each other on one topic: each answers as it would alone, and what they may share they do."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.stack import Stack, event, eventually, running_stack
from tests.test_docs import blocks, commands
from timeline_workers.metric.model import Metric
from timeline_workers.plan.physical import plan
from workflows.client import ask

pytestmark = pytest.mark.integration

ON = 'latest_event_to_state(status) == "on"'
LAX, STRICT = f"duration_where({ON})", f"duration_where({ON} && !has_existed(power > 1000))"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("neighbours")) as made:
        made.start_worker()
        made.start_feeder()
        yield made


def metrics(topic: str, declared: bool) -> tuple[Metric, Metric]:
    """``lax`` accepts what ``strict`` refuses: by a declared column, or by what its expression needs."""

    def one(name: str, expression: str, columns: dict[str, str]) -> Metric:
        source = {"topic": topic, "key": "id", "time": "t", "allowed_lateness": "1s"}
        source |= {"columns": columns} if declared else {}
        return Metric.model_validate({"name": f"{name}-{topic}", "source": source, "expression": expression})

    return (
        one("lax", LAX, {"status": "string"}),
        one("strict", STRICT, {"status": "string", "power": "float"}),
    )


@pytest.mark.parametrize("declared", [True, False], ids=["declared", "inferred"])
@pytest.mark.parametrize("order", ["lax, events, strict", "strict, events, lax", "both, events"])
async def test_the_order_of_applying_changes_no_answer(stack: Stack, order: str, declared: bool) -> None:
    """An event that one refuses is accepted by the other, whoever was there first; it is the dead letter of
    the one that refuses it, and both have one watermark.
    """
    topic = f"chargers-{order.replace(', ', '-')}-{'declared' if declared else 'inferred'}"
    lax, strict = metrics(topic, declared)
    last = None
    for step in order.split(", "):
        if step == "events":
            last = stack.send(
                topic,
                [
                    event("a", 0, status="on", power=1),
                    event("a", 10, status="off", power="n/a"),
                    event("a", 20, status="off", power=1),
                    event("a", 100, status="off", power=1),
                ],
            )
            for there in [m for m in (lax, strict) if m.name in {e.metric.name for e in await _all(stack)}]:
                await stack.applied(there, last)
        else:
            for metric in {"lax": [lax], "strict": [strict], "both": [lax, strict]}[step]:
                await stack.apply(metric)
    last = stack.send(
        topic, [event("a", 110, status="on", power="n/a"), event("a", 120, status="off", power=1)]
    )

    async def answer(metric: Metric, at: int) -> tuple[Any, bool]:
        found = await stack.ask(metric, "a", "value_at", {"at": at})
        return found["value"], found["final"]

    for metric, values in ((lax, {30: 10, 130: 20}), (strict, {30: 20, 130: 20})):
        await stack.applied(metric, last)
        assert await answer(metric, 30) == (values[30], True)
        assert await answer(metric, 130) == (values[130], False)
    assert {letter.properties()["metrics"] for letter in stack.dead_letters(topic, 2)} == {strict.name}
    marks = [
        status["state"]["watermark"]
        for metric in (lax, strict)
        for status in (await stack.statuses(metric)).values()
    ]
    assert marks == [119_000_000, 119_000_000]


async def _all(stack: Stack) -> list[Any]:
    return await ask.registered(await stack.temporal())


async def test_metrics_that_name_a_source_share(stack: Stack, tmp_path: Path) -> None:
    """A source is stored by `timeline apply`, named by metrics, and replaced without touching those that run;
    one that is named cannot be removed.
    """

    def write(name: str, data: dict[str, Any]) -> str:
        file = tmp_path / f"{name}.yaml"
        file.write_text(yaml.safe_dump(data))
        return str(file)

    def run(*arguments: str, code: int = 0) -> str:
        done = stack.run("timeline_workers", *arguments)
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr

    fields: dict[str, Any] = {
        "topic": "stored",
        "key": "id",
        "time": "t",
        "columns": {"status": "string", "power": "float"},
    }
    source = write("source", {"kind": "source", "name": "points", "source": fields})
    lax = write("lax", {"name": "by-name", "source": "points", "expression": LAX})
    strict = write("strict", {"name": "by-name-too", "source": "points", "expression": STRICT})
    alone = write(
        "alone", {"name": "by-hand", "source": {**fields, "columns": {"status": "string"}}, "expression": LAX}
    )

    assert "there is no source 'points'" in run("apply", lax, code=2)
    assert "source points is new: version 1" in run("apply", source)
    assert "source points is unchanged: version 1" in run("apply", source)
    for file in (lax, strict, alone):
        run("apply", file)
    assert "shares 2 of 3 nodes with by-name-too" in run("graph", lax).replace("\n", " ")
    assert "by-name shares nothing with by-hand: 'power' must be of type number here" in run(
        "graph", lax
    ).replace("\n", " ")

    replaced = {**fields, "columns": {**fields["columns"], "power": "int"}}
    write("source", {"kind": "source", "name": "points", "source": replaced})
    said = run("apply", source)
    assert "source points replaces an earlier definition: version 2" in said
    assert "by-name, by-name-too keep the version" in said
    kept = await ask.find_metric(await stack.temporal(), "by-name")
    assert kept.named_source is not None
    assert (kept.named_source.version, kept.source.columns["power"].type) == (1, "float")
    assert plan(kept).nodes  # the definition is whole without the catalog
    listed = run("source", "list", "-o", "json")
    assert '"version": 2' in listed
    assert "by-name (version 1), by-name-too (version 1)" in listed
    assert "replaces an earlier definition" in run("apply", lax)
    assert "by-name, by-name-too (version 1)" in run("source", "list", "-o", "json")

    assert "did you mean 'points'" in run("source", "describe", "point", code=2)
    described = run("source", "describe", "points")
    file = tmp_path / "described.yaml"
    file.write_text(described)
    assert "source points is unchanged: version 2" in run("apply", str(file))
    assert "named by the metrics by-name, by-name-too" in run("source", "delete", "points", code=2)
    for name in ("by-name", "by-name-too"):
        run("delete", name)
    run("source", "delete", "points")
    assert "no source is stored" in run("source", "list")


async def test_the_example_of_a_stored_source_runs_as_printed(stack: Stack) -> None:
    """Every command of its README works in its order, and prints what stands below it."""
    readme = Path("examples/stored-source/README.md")
    for command, output in (one for block in blocks(readme, "console") for one in commands(block)):
        command = command.replace("\\\n", " ").replace("timeline", "python -m timeline_workers", 1)
        words = shlex.split(command)

        async def prints(words: tuple[str, ...] = tuple(words[2:]), output: str = output) -> bool:
            done = stack.run(*words)
            return done.returncode == 0 and (not output or done.stdout == output)

        await eventually(prints)
