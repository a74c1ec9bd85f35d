"""Events: their times, decoding and validation, and the columns they become.

``decode`` reads JSON and mappings, ``frames`` tables, both through ``paths`` and ``raw``; ``bulk`` reads many
JSON texts that are alike at once, by ``template`` and ``lines``; ``rules`` decides which events are valid and
why the others are not; ``times`` converts to and from microseconds; ``incarnation`` tells a recreated topic
from the one it replaces. What comes out is a ``columns.event_batch``.
"""
