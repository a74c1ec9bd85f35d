"""Web: what is served over HTTP. It needs the extra ``[web]``.

``access`` says who may ask, ``request_guard`` sees to it; ``dvr`` is the player's socket, ``page_files`` the
page, ``rest_application`` the REST interface (``*_routes``, ``rest_models``, ``failures``);
``web_application`` is all of them over a ``site``, and ``server`` runs it on uvicorn.
"""
