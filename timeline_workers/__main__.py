"""``python -m timeline_workers`` is the ``timeline`` command."""

from timeline_workers.cli.main import main

main()
