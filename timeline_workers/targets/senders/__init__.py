"""Senders: one module for each kind of target, each with ``opened(target, sink, secrets)``.

Only here are the libraries of targets known, and only the module of a kind that is used is loaded.
"""
