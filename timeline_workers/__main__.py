"""``python -m timeline_workers`` is the ``timeline`` command."""

from .cli.main import main

main()
