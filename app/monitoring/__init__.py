"""Monitoring: what ``/metrics`` and ``/readyz`` report.

    counters    counters of pages, images, pairs and answers, kept on the broker
    heartbeats  when a worker of each queue last showed that it works
    prometheus  the metrics, read from the database and the broker at each scrape

In: events that workers count, and rows of the database. Out: metrics of Prometheus; seconds of silence by queue.
"""
