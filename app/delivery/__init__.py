"""Telling client apps: results and events wait in an outbox until they have arrived.

``outbox``      what is to be sent, whose turn it is, what came of each try: tables ``deliveries`` and ``attempts``
``endpoints``   which addresses want to be left alone
``courier``     posts one delivery: the only part that speaks to a network
``parcels``     the bytes of a request
``signature``   the headers by which a client app knows whom a request is from
``kinds``       what a delivery may carry, and what may become of it

A client app that is down never fails or delays a job: what it did not take stays here, where it can be fetched or sent
again.
"""
