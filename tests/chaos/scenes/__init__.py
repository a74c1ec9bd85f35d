"""The scenes, one idea a file; each has a ``SCENE``."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from tests.chaos.scene import Scene


def scenes() -> dict[str, Scene]:
    """Every scene by name."""
    found = [import_module(f"{__name__}.{module.name}").SCENE for module in iter_modules(__path__)]
    return {scene.name: scene for scene in sorted(found, key=lambda scene: scene.name)}
