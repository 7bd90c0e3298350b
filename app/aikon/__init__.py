"""The dialect of AIKON fronts: their routes, requests, events and results, over the same jobs as all other routes.

A front is a web application of the AIKON platform, such as AIKON, EIDA or VHS. It expects the API of that platform.

    routes         the routes of all tasks: start, models, status, cancel, delete
    results        the routes of results
    start_request  the request that starts a task
    crops          the crops that come with documents
    job_requests   this request → AikonTask, and the requests of its jobs
    models         lists of models
    answers        types of the JSON responses
    events         bodies of the events for ``notify_url``
    regions        result of a detection job → regions of a front
    scores         result of a similarity job → scores of a front
    search         result of a similarity job → an index of a front, or the matches of a query

In: requests without a key from ``AIKON_NETWORKS``, or with a key. Out: events in the outbox, and results that fronts
fetch. ``docs/aikon.md`` explains the dialect.

A task of a front is a job of the kind ``aikon``. It has a part for each document (regions) or one for all.
The parts are ordinary jobs that know nothing of the dialect. ``JobEvents`` reports them as events of the task.
"""

from flask import Flask


def register(app: Flask) -> None:
    """Register the routes of the dialect in an application."""
    from app.aikon import results

    app.register_blueprint(results.routes)  # with those of routes.py
