"""Deliveries: results and events for client apps wait in an outbox until they have arrived.

    outbox        what is to be sent next, and the outcome of each attempt: tables ``deliveries`` and ``attempts``
    result_parts  a result that is sent as many deliveries
    endpoints     addresses of client apps that are down, rate limited or closed
    dispatcher    sends one delivery; the only module here that uses the network
    payloads      the bytes of a request, and the headers that sign them
    kinds         what a delivery carries, and its status

In: enqueued results and events, in the transaction of a job's change. Out: signed POST requests, retried for three
days. A client app that is down never fails or delays a job.
"""
