"""The expression language: text to a typed tree, its kinds and types, and its canonical form.

``parser`` (with ``grammar.lark``, ``lexical``, ``durations``) turns both spellings of the operators into the
tree of ``tree``, and ``mistakes`` explains what is no expression; ``check`` decides kinds and types;
``canonical`` gives equal expressions one text and so one hash. The builder for Python is
``timeline_workers.builder``.
"""
