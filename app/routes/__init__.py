"""The HTTP routes. They read requests, call ``current_services`` and return responses; errors are JSON too.

In: requests that ``server`` accepted (API key, limits). Out: JSON of the types in ``answers``, and files.

    operations    decorators that declare and read the input of a view and declare its responses
    answers       types of the JSON responses
    submissions   routes that create jobs: /run_detect, /detect_all, /delete_detect, /run_similarity, /train-model,
                  /test-model; /delete_similarity
    search        /search, /jobs/<id>/matches
    estimates     the answer of /run_detect with estimate=true
    jobs          /jobs: list, show, cancel, retry, redeliver
    results       /jobs/<id>/scores, files
    exports       /jobs/<id>/annotations, manifest.json, pages/<number>.jpg, links
    corrections   /jobs/<id>/corrections
    image_groups  /jobs/<id>/groups, /jobs/<id>/pairs/<a>/<b>.jpg
    large_bodies  receive large uploads
    uploads       /send-data, /send-dataset, /datasets, /jobs/<id>/dataset
    models        /models, /models/default
    probes        /healthz, /readyz, /metrics
    openapi       /openapi.json
"""

import logging

from flask import Flask, current_app, jsonify, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound, RequestEntityTooLarge

from app.errors import ExtractorError, RequestError

log = logging.getLogger(__name__)


def register(app: Flask) -> None:
    """Register the routes and the error handlers in an application."""
    from app.routes import (
        corrections,
        exports,
        image_groups,
        jobs,
        models,
        openapi,
        probes,
        results,
        search,
        submissions,
        uploads,
    )

    of_jobs = (submissions, search, jobs, exports, corrections, results, image_groups)
    for module in (*of_jobs, uploads, models, probes, openapi):
        app.register_blueprint(module.routes)
    app.register_blueprint(exports.viewer_routes)
    app.register_blueprint(models.default_routes)
    app.register_error_handler(ExtractorError, answer_error)
    app.register_error_handler(HTTPException, answer_http_error)
    app.register_error_handler(NotFound, answer_not_found)
    app.register_error_handler(MethodNotAllowed, answer_wrong_method)
    app.register_error_handler(RequestEntityTooLarge, answer_too_large)
    app.before_request(check_host)
    app.register_error_handler(Exception, answer_internal_error)


def answer_error(error: ExtractorError) -> ResponseReturnValue:
    return jsonify(message=error.message, code=error.code), error.status, dict(error.headers)


def answer_not_found(_: NotFound) -> ResponseReturnValue:
    message = "There is no such URL: GET /openapi.json lists all routes."
    return jsonify(message=message, code="not_found"), 404


def answer_http_error(error: HTTPException) -> ResponseReturnValue:
    headers = [header for header in error.get_headers() if header[0] not in ("Content-Type", "Content-Length")]
    code = (error.name or "error").lower().replace(" ", "_")
    return jsonify(message=error.description or error.name, code=code), error.code or 500, headers


def answer_wrong_method(error: MethodNotAllowed) -> ResponseReturnValue:
    allowed = sorted(error.valid_methods or ())
    usual = " or ".join(method for method in allowed if method != "HEAD")
    message = f"The method {request.method} is not allowed at this URL: use {usual}."
    return jsonify(message=message, code="method_not_allowed"), 405, {"Allow": ", ".join(allowed)}


def answer_too_large(_: RequestEntityTooLarge) -> ResponseReturnValue:
    limit = request.max_content_length or 0
    setting = "MAX_REQUEST_MB" if limit == current_app.config["MAX_CONTENT_LENGTH"] else "MAX_DATASET_MB"
    message = f"The request is too large: send at most {limit / 1e6:g} MB ({setting}) in at most 1000 fields."
    return jsonify(message=message, code="too_large"), 413


def check_host() -> None:
    """Reject a malformed Host header, because URLs in responses are built from it."""
    if not request.host:
        raise RequestError("The Host header of the request is not a valid host name.")


def answer_internal_error(error: Exception) -> ResponseReturnValue:
    log.exception("A request failed", exc_info=error)
    message = "The server failed to handle the request; its log has the details."
    return jsonify(message=message, code="internal_error"), 500
