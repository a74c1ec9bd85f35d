"""The scenes, and the page that is made from their reports."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

from tests.chaos.scenes import scenes

TOP = Path(__file__).parents[2]


def test_every_scene_has_acts_with_names_of_their_own() -> None:
    for name, scene in scenes().items():
        names = [act.name for act in scene.acts]
        assert names, name
        assert len(set(names)) == len(names)


@pytest.fixture(scope="module")
def page() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_modes", TOP / "docs/generate_failure_modes.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_what_the_reports_make(page: ModuleType) -> None:
    """docs/failure-modes.md is what docs/generate_failure_modes.py makes; run it when this fails."""
    reports = json.loads((TOP / "docs/failure-modes.json").read_text(encoding="utf-8"))
    assert (TOP / "docs/failure-modes.md").read_text(encoding="utf-8") == page.page(reports)
