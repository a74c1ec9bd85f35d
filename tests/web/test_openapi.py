"""The OpenAPI document of the REST interface: the file is what the routes and models make."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")
from timeline_workers.web.rest_application import document

TOP = Path(__file__).parents[2]


def test_the_openapi_document_is_up_to_date() -> None:
    found = importlib.util.spec_from_file_location("generate_rest", TOP / "docs/generate_rest.py")
    assert found is not None
    assert found.loader is not None
    generator: Any = importlib.util.module_from_spec(found)
    found.loader.exec_module(generator)
    said = generator.PAGE.read_text(encoding="utf-8")
    assert said == generator.page(), "run python docs/generate_rest.py"


def test_every_route_answers_mistakes_with_a_failure() -> None:
    for path, methods in document()["paths"].items():
        assert path.startswith("/api/")
        for method, route in methods.items():
            failure = route["responses"]["default"]["content"]["application/json"]["schema"]
            assert failure == {"$ref": "#/components/schemas/Failure"}, (path, method)
            assert route["summary"], (path, method)
