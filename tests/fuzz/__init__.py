"""Fuzzing: whatever comes in from outside is accepted with exactly what it says, or refused with a reason.

Each target makes its own inputs from a seeded generator and judges what became of every one of them: an
outcome with a name, or a ``Finding``. ``python -m tests.fuzz`` runs millions by hand; the tests run a few
seconds of each under hypothesis.
"""
