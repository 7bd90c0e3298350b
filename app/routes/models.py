"""``/models``: the detection weights of this server, and the choice of the default.

Reading needs no API key. Changing the default does, so it has a separate blueprint.
"""

import time

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue

from app.detection.trial import try_weights
from app.detection.weights import DefaultModel, Weights
from app.detection.weights_description import load_card
from app.errors import NotFound, RequestError, WeightsError
from app.jobs.description import format_moment, format_time
from app.routes.answers import Default, DefaultChoice, ModelAnswer, Models, NewDefault
from app.routes.operations import answers
from app.services import current_services

routes = Blueprint("models", __name__)
default_routes = Blueprint("default_model", __name__)


@routes.get("/models")
@answers(Models)
def list_models() -> ResponseReturnValue:
    """List the detection weights of this server."""
    weights = current_services.models.list_weights().values()
    return jsonify({each.name: time.ctime(each.changed) for each in weights})


@routes.get("/models/<name>")
@answers(ModelAnswer)
def show(name: str) -> ResponseReturnValue:
    """Show detection weights: architecture, classes, input size, hash and model card."""
    weights = _find(name)
    found = current_services.weights_descriptions.describe(weights)
    return jsonify(
        ModelAnswer(
            name=weights.name,
            label=weights.label,
            default=_is_default(weights),
            supported=not found.error,
            error=found.error or None,
            architecture=found.architecture,
            parameters=found.parameters,
            classes={str(number): text for number, text in found.classes.items()},
            input_size=found.input_size,
            detection_size=None if found.error else current_services.choose_model_size(weights),
            sha256=found.sha256,
            size=found.size,
            changed=format_moment(weights.changed, "seconds"),
            card=load_card(weights.path),
        )
    )


@routes.get("/models/default")
@answers(Default)
def show_default() -> ResponseReturnValue:
    """Show the default weights, which requests without a model use, and the previous default."""
    models = current_services.models
    try:
        error = current_services.weights_descriptions.describe(models.find()).error or None
    except RequestError as lost:
        error = lost.message
    return jsonify(Default(**_describe(models.default), error=error))


@default_routes.post("/models/<name>/default")
@answers(NewDefault)
def set_default(name: str) -> ResponseReturnValue:
    """Make these weights the default.

    The server loads the weights and tests them first. Existing jobs keep the weights they were created with.
    """
    models, settings = current_services.models, current_services.settings
    weights = _find(name)
    found = current_services.weights_descriptions.describe(weights)
    try:
        if found.error:
            raise WeightsError(found.error)
        try_weights(weights.path, settings.data_folder / "ultralytics")
    except WeightsError as error:
        raise RequestError(error.message) from error
    before = models.default
    default = models.set_default(weights)
    message = f"{weights.name} is now the default model, in place of {before.name}."
    if default == before:
        message = f"{weights.name} is the default model already."
    return jsonify(NewDefault(message=message, **_describe(default)))


def _find(name: str) -> Weights:
    """Return the weights of a URL.

    Raises:
        NotFound: There are no weights with this name.
    """
    try:
        return current_services.models.find(name)
    except RequestError as error:
        raise NotFound(error.message) from error


def _describe(default: DefaultModel) -> DefaultChoice:
    return DefaultChoice(default=default.name, previous=default.previous, since=format_time(default.since))


def _is_default(weights: Weights) -> bool:
    try:
        return current_services.models.find().name == weights.name
    except RequestError:
        return False
