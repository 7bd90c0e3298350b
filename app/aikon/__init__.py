"""The dialect of AIKON fronts: their addresses, requests, events and results, over the same jobs as all other routes.

    routes         the routes: start, models, status, cancel, delete, results
    start_request  request of a front → AikonTask, and the requests of its jobs
    models         lists of models
    answers        types of the JSON responses
    events         bodies of the events for ``notify_url``
    regions        result of a detection job → regions of a front
    scores         result of a similarity job → scores of a front

In: requests without a key from ``AIKON_NETWORKS``, or with a key. Out: events in the outbox, and results that fronts
fetch. ``docs/aikon.md`` explains the dialect.

A task of a front is a job of the kind ``aikon``. It has a part for each document (regions) or one for all (similarity).
The parts are ordinary jobs that know nothing of the dialect. ``JobEvents`` reports them as events of the task.
"""

from flask import Flask


def register(app: Flask) -> None:
    """Register the routes of the dialect in an application."""
    from app.aikon.routes import routes

    app.register_blueprint(routes)
