"""Hypothesis profiles, chosen by HYPOTHESIS_PROFILE: ``default``, ``thorough`` and ``smoke``."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

# No deadline: nothing here is timed. The blob reproduces a failure seen on another machine.
_common = {"deadline": None, "print_blob": True, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("default", settings(max_examples=200, **_common))  # type: ignore[arg-type]
settings.register_profile("thorough", settings(max_examples=20_000, **_common))  # type: ignore[arg-type]
settings.register_profile("smoke", settings(max_examples=30, **_common))  # type: ignore[arg-type]
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))
