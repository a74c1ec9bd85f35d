"""`temporal workflow cancel` of every kind of workflow."""

from __future__ import annotations

from tests.chaos.by_hand import cancel
from tests.chaos.ending_acts import acts

# What ends is the same as when it is terminated; a workflow may only have a say in it.
SCENE = acts("cancel", cancel, ("leaf", "result", "catalog"))
