"""The expression language: text to a typed tree, its kinds and types, and its canonical form.

``parser`` (with ``grammar.lark``, ``lexicon``, ``durations``) turns both spellings of the operators into the
tree of ``tree``, and ``syntax_errors`` explains what is no expression, with ``suggestions``; ``nesting``
bounds its depth; ``check`` decides kinds and types; ``canonical`` gives equal expressions one text and so one
hash. The builder for Python is ``timeline_workers.builder``.
"""
