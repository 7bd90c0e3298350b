"""The OpenAPI document, for tests that are collected from it: no application with settings is needed."""

from flask import Flask

from app import routes
from app.routes.openapi import build_document

_bare = Flask(__name__, static_folder=None)
_bare.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
routes.register(_bare)

DOCUMENT = build_document(_bare)
PATHS = DOCUMENT["paths"]
