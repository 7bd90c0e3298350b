"""What shows whether the service works: heartbeats of the queues, counters, metrics."""
