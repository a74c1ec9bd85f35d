"""Web: what is served over HTTP. It needs the extra ``[web]``.

``access`` says who may ask, ``dvr`` is the player's socket, ``server`` runs it all on uvicorn.
"""
