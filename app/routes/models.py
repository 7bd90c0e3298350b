"""``GET /models``: the detection weights of this server. Open to everyone."""

import time

from flask import Blueprint, current_app, jsonify
from flask.typing import ResponseReturnValue

routes = Blueprint("models", __name__)


@routes.get("/models")
def list_models() -> ResponseReturnValue:
    weights = current_app.extensions["models"].list_weights().values()
    return jsonify({each.name: time.ctime(each.changed) for each in weights})
