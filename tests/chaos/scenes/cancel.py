"""`temporal workflow cancel` of every kind of workflow."""

from __future__ import annotations

from tests.chaos.by_hand import cancel
from tests.chaos.ending_acts import acts

SCENE = acts("cancel", cancel)
