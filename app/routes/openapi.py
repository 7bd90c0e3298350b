"""``GET /openapi.json``: what every route takes and answers, for programs. Open to everyone."""

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue

from app.openapi import build_document

routes = Blueprint("openapi", __name__)


@routes.get("/openapi.json")
def show_document() -> ResponseReturnValue:
    return jsonify(build_document())
