"""`temporal workflow terminate` of every kind of workflow."""

from __future__ import annotations

from tests.chaos.by_hand import terminate
from tests.chaos.ending_acts import acts

SCENE = acts("terminate", terminate)
