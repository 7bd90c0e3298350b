"""The server: everything between a socket and a view.

    gunicorn_worker  gunicorn's threaded worker with time limits; error responses to malformed HTTP
    middleware       the order of the middleware; the limit on concurrent requests
    proxies          the public address of the API, from the headers of trusted proxies
    authentication   ``X-API-Key`` or ``AIKON_NETWORKS`` → ``g.client``; the routes that need no key
    sessions         who is signed in to the pages for people, in a signed cookie
    signed_links     links to the manifest of a job that need no key, for viewers
    rate_limiting    counts requests per client app or IP address, on the broker
    request_limits   limits on the size, the form and the duration of a request
    request_log      method, path, status and milliseconds of each request; Flask's development server

In: connections. Out: authenticated requests with a complete body. All other requests get a JSON error.
The options of gunicorn are in ``run.py``.

Gunicorn uses a thread per connection here, so that slow or silent clients do not delay others. The table shows how
long ``GET /models`` took, in seconds, while such clients were connected, and when the server dropped them
(``request_seconds=6``, two busy cores, 2026-11-28):

    =========================  ========  ===========  =====================  =====================  ==========
    HTTP server                500       300 clients  64 clients that send   64 clients that send   403 before
                               silent    that never   headers byte by byte   a body byte by byte    the body
                               clients   close                               with a valid key       is read
    =========================  ========  ===========  =====================  =====================  ==========
    this worker                0.0       0.0          0.0, dropped at 10 s   0.0, dropped at 7 s    yes
    gunicorn 27, 8 threads     > 20      > 20         > 30, never dropped    > 30, never dropped    yes
    gunicorn 27, 300 threads   0.0       > 20         0.0, never dropped     0.1, never dropped     yes
    gunicorn 27, gevent        0.0       0.0          0.0, dropped at 2 s    0.3, never dropped     yes
    waitress 3.0.2             0.0       0.0          0.0, never dropped     0.0, never dropped     no
    granian 2.8.9, WSGI        0.0       0.0          0.0, dropped at 10 s   > 30, never dropped    yes
    granian 2.8.9, a2wsgi      0.0       0.0          0.1, dropped at 10 s   6.0, dropped at 6 s    yes
    hypercorn 0.18.0, a2wsgi   0.0       0.3          0.0, dropped at 10 s   6.0, dropped at 6 s    yes
    uvicorn 0.54.0, a2wsgi     0.0       0.0          0.0, never dropped     5.8, dropped at 6 s    yes
    =========================  ========  ===========  =====================  =====================  ==========

Granian came closest, with three disadvantages. It answers malformed HTTP with an empty body. It does not answer a
client that half-closes its connection. Two services started on the same port share it without an error.
a2wsgi leaks a thread for each interrupted download.
"""
