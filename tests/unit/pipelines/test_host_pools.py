"""The images of a comparison are fetched with the connections that each host allows."""

import threading
from collections import Counter
from functools import partial

from app.iiif.hosts import HostRule, HostRules
from app.pipelines.similarity.host_pools import MOST_POOLS, run_by_host

CONNECTIONS = {"strict.example": 1, "other.example": 2, "trusted.example": 8}
RULES = HostRules(HostRule(2), {"strict.example": HostRule(1)}, lambda host: host == "trusted.example")


def test_each_host_gets_the_connections_of_its_rule() -> None:
    barriers = {host: threading.Barrier(number, timeout=10) for host, number in CONNECTIONS.items()}
    running: Counter[str] = Counter()
    lock = threading.Lock()

    def work(host: str) -> int:
        """Wait until as many tasks run as the host allows; return how many run."""
        with lock:
            running[host] += 1
        barriers[host].wait()
        found = running[host]
        barriers[host].wait()
        with lock:
            running[host] -= 1
        return found - CONNECTIONS[host]

    tasks = [(host, partial(work, host)) for host, number in CONNECTIONS.items() for _ in range(2 * number)]
    excess: list[int] = []
    run_by_host(tasks, RULES, excess.append, lambda: None)
    assert excess == [0] * len(tasks)


def test_more_hosts_than_pools_are_all_served() -> None:
    hosts = [f"{number}.example" for number in range(2 * MOST_POOLS + 1)] * 2
    results: list[str] = []
    run_by_host([(host, partial(str, host)) for host in hosts], RULES, results.append, lambda: None)
    assert sorted(results) == sorted(hosts)
