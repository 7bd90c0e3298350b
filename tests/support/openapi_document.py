"""The OpenAPI document, built without settings, so that tests can be parametrized with it."""

from flask import Flask

from app import aikon, routes
from app.routes.openapi import build_document

_bare = Flask(__name__, static_folder=None)
_bare.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
routes.register(_bare)
aikon.register(_bare)

DOCUMENT = build_document(_bare)
PATHS = DOCUMENT["paths"]
