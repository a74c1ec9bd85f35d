"""Contenders: one module each, run as ``python -m benchmarks.contenders.NAME JOB.json``.

A contender may run in its peer's environment, so the modules import the peer, the standard library and each
other, and nothing of this project; only those named ``engine*`` run in ours.
"""
