"""Playback: recorded events and timelines under one playhead, as a DVR plays them.

``requests`` and ``replies`` are the messages of the protocol ``timeline.dvr.v1``, ``player`` the state
machine that answers the one with the other, ``recording`` what it reads from.
"""
