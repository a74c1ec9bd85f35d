"""Alerts: every episode of a Boolean node is told, and what was told is corrected when it changes.

Everything about truth is a timeline: `for`, `keep` and hysteresis are operators of the rule's expression.
What is here only tells. Pure: revisions and instants in, messages out.
"""
