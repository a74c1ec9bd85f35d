"""``python -m feeder`` runs the feeder."""

import gc

# To look for garbage among what is imported takes a seventh of a start. ``collect_seldom`` enables it.
gc.disable()

from feeder.program import app  # noqa: E402

app()
