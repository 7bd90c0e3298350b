"""Outgoing HTTP: which addresses may be reached, and requests with a deadline.

    addresses  ``AddressGuard`` resolves a host and rejects private addresses; ``read_host`` normalizes a host name
    urls       ``make_requestable`` encodes what a URL may not contain
    transport  ``GuardedSession``: a ``requests`` session that connects to checked addresses only; ``Deadline``

In: URLs from client apps and manifests, and the trusted hosts of the settings. Out: responses of ``requests``.
Users: fetching (``app/iiif/fetch.py``), deliveries (``app/delivery/dispatcher.py``), Comet (``app/training/comet.py``).
"""
