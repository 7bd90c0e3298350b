"""``GET /models``, ``/models/<name>``, ``/models/default``: the detection weights of this server. Open to everyone."""

import time
from typing import Any

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue

from app.detection.default_model import DefaultModel
from app.detection.weights import ModelStore, Weights
from app.detection.weights_description import load_card
from app.errors import NotFound, RequestError
from app.jobs.description import format_time
from app.services import current_services

routes = Blueprint("models", __name__)


@routes.get("/models")
def list_models() -> ResponseReturnValue:
    weights = current_services.models.list_weights().values()
    return jsonify({each.name: time.ctime(each.changed) for each in weights})


@routes.get("/models/<name>")
def show(name: str) -> ResponseReturnValue:
    weights = find_weights(name)
    found = current_services.descriptions.describe(weights)
    return jsonify(
        name=weights.name,
        label=weights.label,
        default=_is_default(weights),
        supported=not found.error,
        error=found.error or None,
        architecture=found.architecture,
        parameters=found.parameters,
        classes={str(number): text for number, text in found.classes.items()},
        input_size=found.input_size,
        sha256=found.sha256,
        size=found.size,
        changed=format_time(weights.changed),
        card=load_card(weights.path),
    )


@routes.get("/models/default")
def show_default() -> ResponseReturnValue:
    """Say which weights are used when a request names none, and which were before."""
    store: ModelStore = current_services.models
    try:
        store.find()
        error = None
    except RequestError as lost:
        error = lost.message
    return jsonify(**describe_default(store.default), error=error)


def find_weights(name: str) -> Weights:
    """Return the weights that an address names.

    Raises:
        NotFound: There are none of that name.
    """
    store: ModelStore = current_services.models
    try:
        return store.find(name)
    except RequestError as error:
        raise NotFound(error.message) from error


def describe_default(default: DefaultModel) -> dict[str, Any]:
    """Return which weights are the default, which were before, and since when."""
    return {"default": default.name, "previous": default.previous, "since": format_time(default.since)}


def _is_default(weights: Weights) -> bool:
    store: ModelStore = current_services.models
    try:
        return store.find().name == weights.name
    except RequestError:
        return False
