"""``POST /models/<name>/default``: the weights that are used when a request names none."""

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue

from app.detection.trial import try_weights
from app.errors import RequestError, WeightsError
from app.routes.models import describe_default, find_weights
from app.services import current_services

routes = Blueprint("default_model", __name__)


@routes.post("/models/<name>/default")
def set_default(name: str) -> ResponseReturnValue:
    """Use other weights, if they can be used."""
    store, settings = current_services.models, current_services.settings
    weights = find_weights(name)
    found = current_services.descriptions.describe(weights)
    try:
        if found.error:
            raise WeightsError(found.error)
        try_weights(weights.path, settings.data_folder / "ultralytics")
    except WeightsError as error:
        raise RequestError(error.message) from error
    before = store.default
    default = store.set_default(weights)
    message = f"{weights.name} is used when a request names no model, in place of {before.name}."
    if default == before:
        message = f"{weights.name} is used already when a request names no model."
    return jsonify(message=message, **describe_default(default))
