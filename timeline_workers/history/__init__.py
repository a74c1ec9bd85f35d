"""The history of events and timelines: what was seen, when the store saw it, and what was said of it then.

``model`` what is stored and what is answered, ``store`` the protocol of a history store, ``open`` the store
at an address; ``sqlite_store`` the embedded one, ``postgres_store`` the other; ``computed`` any node of any
expression from stored events, ``from_news`` what a worker says as revisions; ``rows``, ``blocks``,
``verdicts`` and ``text`` how stores write it.
"""
