"""``python -m feeder`` runs the feeder."""

import gc

# To look for garbage among what is imported takes a seventh of a start. ``collect_seldom`` enables it.
gc.disable()

from feeder.program import app  # noqa: E402
from timeline_workers.process.help_form import with_plain_help  # noqa: E402

with_plain_help(app)()
