"""Jobs: what client apps ask for, and how far the service is with it.

    lifecycle    class ``Jobs``: what a client app changes: submit, cancel, retry
    leases       what workers and the sweep change; the states and leases are drawn here
    states       states and stages
    scheduling   which waiting job a worker takes next
    queries      jobs and their deliveries, read
    rows         new rows, those of a collection's parts, and the statements that change rows
    processes    names of the processes that hold leases
    job_kinds    the registry: what is particular to each kind of job
    description  a job as JSON, and its events for the client app (``notify_url``)
    job_answers  the types of that JSON
    documents    documents of similarity jobs: sources, use of the disk, removal
    pairs        pairs of documents, and their scores
    result_payloads  the payload of a delivery, built from the files of its job

    requests/    what may be asked for, as validated records

In: validated requests of the routes. Out: rows, messages that wake workers, events in the outbox.
"""

from app.jobs.lifecycle import Jobs
from app.jobs.requests import DetectionRequest, EvaluationRequest, SimilarityRequest, TrainingRequest
from app.jobs.states import Stage, State

__all__ = [
    "DetectionRequest",
    "EvaluationRequest",
    "Jobs",
    "SimilarityRequest",
    "Stage",
    "State",
    "TrainingRequest",
]
