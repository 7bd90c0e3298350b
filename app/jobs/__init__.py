"""Jobs: what client apps ask for, and how far the service is with it.

``lifecycle``    class ``Jobs``: what a client app changes: submit, cancel, retry
``leases``       what workers and the sweep change; the states and leases are drawn here
``states``       states and stages
``scheduling``   which waiting job a worker takes next
``queries``      jobs and their deliveries, read
``rows``         new rows, and the statements that change rows
``collections``  the parts of a collection
``events``       events for the client app (``notify_url``)
``processes``    names of the processes that hold leases
``requests``     what may be asked for, validated
``description``  a job as JSON
``documents``    documents of similarity jobs; ``pairs`` and ``results``: their pairs and scores
"""

from app.jobs.lifecycle import Jobs
from app.jobs.requests import DetectionRequest, EvaluationRequest, SimilarityRequest, TrainingRequest, read_request
from app.jobs.states import Stage, State

__all__ = [
    "DetectionRequest",
    "EvaluationRequest",
    "Jobs",
    "SimilarityRequest",
    "Stage",
    "State",
    "TrainingRequest",
    "read_request",
]
