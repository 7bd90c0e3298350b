"""Jobs: requests of client apps, and the progress of their execution.

    lifecycle           class ``Jobs``: changes by a client app (submit, cancel, retry)
    leases              changes by workers and the sweep; explains states, leases and messages
    states              states and stages
    scheduling          the scheduler: which waiting job a worker takes next
    queries             reads jobs and their deliveries
    rows                builds new rows, and the statements that change rows
    processes           names of the processes that hold leases
    job_kinds           registry of the kinds of jobs
    description         a job as JSON, and its events for the client app (``notify_url``)
    job_answers         types of that JSON
    evaluation_answers  types of the metrics in that JSON
    documents           documents of similarity jobs: sources, files, removal
    pairs               pairs of documents, and their scores
    job_groups          groups of images that show the same block, over all documents
    pair_pictures       two images next to each other, with what they have in common
    page_images         the cached image of a page of a detection job
    result_payloads     payloads of results, built from the files of a job

    requests/           validated requests

In: validated requests of the routes. Out: rows, messages that wake workers, events in the outbox.
"""

from app.jobs.lifecycle import Jobs
from app.jobs.states import Stage, State

__all__ = ["Jobs", "Stage", "State"]
