"""Monitoring: the data of ``/metrics`` and ``/readyz``.

    counters    counters and gauges that all processes share, stored on the broker
    heartbeats  last heartbeat of each queue, stored in the database
    prometheus  collects the metrics from the database and the broker at each scrape

In: counts and heartbeats of workers, and rows of the database. Out: Prometheus metrics, and the seconds since the last
heartbeat of each queue.
"""
