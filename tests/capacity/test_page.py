"""docs/scale.md says what the model says, and the simulation beside it was held against this model."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

from timeline_workers.capacity.capacity_model import need
from timeline_workers.capacity.terms import Layout, Load

TOP = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def page() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_scale", TOP / "docs/generate_scale.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_what_the_model_makes(page: ModuleType) -> None:
    """docs/scale.md is what docs/generate_scale.py makes; run it when this fails."""
    assert (TOP / "docs/scale.md").read_text(encoding="utf-8") == page.page()


def test_the_simulation_on_the_page_is_of_this_model(page: ModuleType) -> None:
    """When this fails: python -m benchmarks capacity docs/scale.yaml --json docs/scale-simulation.json."""
    data = json.loads((TOP / "docs/scale-simulation.json").read_text(encoding="utf-8"))
    found = need(page.planned(True), Load(**data["load"]), Layout(**data["layout"]))
    said = {check["name"]: check["model"] for check in data["checks"]}
    share = said["signals to leaves a second"] / found.feeder_signals
    assert said["workflow tasks a second"] == pytest.approx(found.tasks * share)
    assert said["bytes of history a second"] == pytest.approx(found.history_bytes * share)
    assert said["events of the fullest partition"] == pytest.approx(found.skew)
    assert all(check["holds"] for check in data["checks"])
    assert data["broken"] == []


def test_real_workers_do_no_more_than_the_model_counts() -> None:
    """What was measured at a steady rate, for docs/scale.md: python -m benchmarks steady."""
    found = json.loads((TOP / "docs/scale-steady.json").read_text(encoding="utf-8"))["found"]
    assert [one["fuse"] for one in found] == [False, True]
    for one in found:
        for name, model in one["model"].items():
            assert 0.5 * model < one["counted"][name] < 1.1 * model, name
