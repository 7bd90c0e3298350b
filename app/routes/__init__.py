"""HTTP only: parse, submit, answer. Every answer is JSON, the errors too.

In: requests that passed ``server`` (limits, API key); a view receives a validated record. Out: JSON of the types in
``answers``, and files. Between them are calls of ``current_services``.

    operations     decorators of views: what a view takes and answers
    answers        types of the answers
    submissions    what makes jobs: /run_detect, /detect_all, /delete_detect, /run_similarity, /train-model, /test-model
    jobs           /jobs: list, show, cancel, retry, redeliver
    results        /jobs/<id>/annotations, scores, files
    uploads        /send-data, /send-dataset, /datasets
    models         /models, /models/default
    probes         /healthz, /readyz, /metrics
    openapi        /openapi.json
"""

import logging

from flask import Flask, current_app, jsonify, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException, NotFound, RequestEntityTooLarge

from app.errors import ExtractorError, RequestError

log = logging.getLogger(__name__)


def register(app: Flask) -> None:
    """Put the routes and the error answers on an application."""
    from app.routes import jobs, models, openapi, probes, results, submissions, uploads

    for module in (submissions, jobs, results, uploads, models, probes, openapi):
        app.register_blueprint(module.routes)
    app.register_blueprint(models.default_routes)
    app.register_error_handler(ExtractorError, answer_error)
    app.register_error_handler(HTTPException, answer_http_error)
    app.register_error_handler(NotFound, answer_nothing_there)
    app.register_error_handler(RequestEntityTooLarge, answer_too_large)
    app.before_request(check_host)
    app.register_error_handler(Exception, answer_unforeseen)


def answer_error(error: ExtractorError) -> ResponseReturnValue:
    return jsonify(message=error.message, code=error.code), error.status, dict(error.headers)


def answer_nothing_there(_: NotFound) -> ResponseReturnValue:
    message = "There is nothing at this address: GET /openapi.json says what there is."
    return jsonify(message=message, code="not_found"), 404


def answer_http_error(error: HTTPException) -> ResponseReturnValue:
    headers = [header for header in error.get_headers() if header[0] not in ("Content-Type", "Content-Length")]
    code = (error.name or "error").lower().replace(" ", "_")
    return jsonify(message=error.description or error.name, code=code), error.code or 500, headers


def answer_too_large(_: RequestEntityTooLarge) -> ResponseReturnValue:
    limit = request.max_content_length or 0
    setting = "MAX_REQUEST_MB" if limit == current_app.config["MAX_CONTENT_LENGTH"] else "MAX_DATASET_MB"
    message = f"The request is too large: at most {limit / 1e6:g} MB ({setting}) in 1000 fields are accepted."
    return jsonify(message=message, code="too_large"), 413


def check_host() -> None:
    """Refuse a malformed Host header: the addresses in the answers are made from it."""
    if not request.host:
        raise RequestError("The Host header of the request is not a host name.")


def answer_unforeseen(error: Exception) -> ResponseReturnValue:
    log.exception("A request failed", exc_info=error)
    message = "The server failed with this request: its log has the details."
    return jsonify(message=message, code="internal_error"), 500
