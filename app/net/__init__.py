"""The network: which addresses may be reached, and HTTP with a deadline.

    addresses  ``AddressGuard`` resolves a host and refuses private addresses; ``read_host``: the one spelling of a host
    transport  ``GuardedSession``: a session of requests that connects to checked addresses only; ``Deadline``

In: URLs from client apps and manifests, and the hosts that the settings trust. Out: responses of requests. Fetching
(``app/iiif/fetch.py``), deliveries (``app/delivery/dispatcher.py``) and Comet (``app/training/comet.py``) use it.
"""
