"""Webhooks: results and events are stored in an outbox and delivered to client apps.

    kinds         kinds of deliveries, and their statuses
    outbox        queue of deliveries: leases, attempts, retry delays (tables ``deliveries`` and ``attempts``)
    result_parts  results that consist of several deliveries
    endpoints     endpoints that are paused or closed (table ``endpoints``)
    dispatcher    sends one delivery; the only module here that uses the network
    payloads      request bodies, and the headers that sign them

In: results and events, enqueued in the transaction of a job's change. Out: signed POST requests, retried for three
days. A client app that is down never fails or delays a job.
"""
