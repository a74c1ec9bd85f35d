"""The history of events and timelines: what was seen, when the store saw it, and what was said of it then.

``model`` what is stored and what is answered; ``store`` the protocol of a history store; ``text`` keys and
values as text.
"""
