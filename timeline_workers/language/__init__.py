"""The expression language: text to a typed tree, its kinds and types, and its canonical form.

``parser`` (with ``grammar.lark``, ``lexical``, ``durations``) makes the tree of ``tree`` out of both spellings
of the operators, and ``mistakes`` explains what is no expression; ``check`` decides kinds and types;
``canonical`` gives equal expressions one text and so one hash. The builder for Python is
``timeline_workers.builder``.
"""
