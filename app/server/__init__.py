"""The server: everything between a socket and a view.

    gunicorn_worker  gunicorn's threaded worker with time limits; its answers to requests that are not HTTP
    middleware       the order of what a request passes before its view; the bound on requests at work
    authentication   ``X-API-Key`` → ``g.client``; which routes need no key
    rate_limiting    counts requests by client app or address, on the broker
    request_limits   size, form and time of a request; ``allow``: a view gives its request more time
    request_log      method, path, status and milliseconds of each request; Flask's development server

In: connections. Out: requests of known client apps with a whole body; JSON with one sentence for all others.
The options of gunicorn are in ``run.py``.

Why gunicorn, with a thread per connection: a slow or silent client must not delay others. Seconds that a
``GET /models`` took while such clients were connected, with ``request_seconds=6``, on two busy cores (2026-11-28):

    =========================  ======  ===========  =====================  =====================  ===========
    HTTP server                500     300 that     64 with a head, a      64 with a body and a   403 before
                               silent  never close  byte at a time         key, a byte at a time  the body
    =========================  ======  ===========  =====================  =====================  ===========
    this worker                0.0     0.0          0.0, cut after 10 s    0.0, cut after 7 s     yes
    gunicorn 27, 8 threads     > 20    > 20         > 30, never cut        > 30, never cut        yes
    gunicorn 27, 300 threads   0.0     > 20         0.0, never cut         0.1, never cut         yes
    gunicorn 27, gevent        0.0     0.0          0.0, cut after 2 s     0.3, never cut         yes
    waitress 3.0.2             0.0     0.0          0.0, never cut         0.0, never cut         no
    granian 2.8.9, WSGI        0.0     0.0          0.0, cut after 10 s    > 30, never cut        yes
    granian 2.8.9, a2wsgi      0.0     0.0          0.1, cut after 10 s    6.0, cut after 6 s     yes
    hypercorn 0.18.0, a2wsgi   0.0     0.3          0.0, cut after 10 s    6.0, cut after 6 s     yes
    uvicorn 0.54.0, a2wsgi     0.0     0.0          0.0, never cut         5.8, cut after 6 s     yes
    =========================  ======  ===========  =====================  =====================  ===========

Granian came closest. It answers malformed HTTP with an empty body, does not answer a client that half-closes its
connection, and two services started on one port share it unnoticed. a2wsgi loses a thread for each broken-off download.
"""
