"""The ``timeline`` command: one module per group of commands; results on stdout, all else on stderr."""
