"""The OpenAPI document of the service: what every route takes and answers, for programs.

It is kept by hand, beside the routes; a test holds that it has every one of them and no other, and another sends each
what it allows and what it does not, and holds the answers against it.
"""

from typing import Any

from app.config import PRODUCT, VERSION
from app.openapi.paths import PATHS
from app.openapi.responses import RESPONSES
from app.openapi.schemas import SCHEMAS
from app.openapi.training import TRAINING_SCHEMAS

INTRODUCTION = (
    "Finds the illustrations in digitised historical documents, and compares them: takes the address of a IIIF "
    "manifest, or of lists of images, and posts boxes or scores to the client app that asked. Fields that are not "
    "named here may be added to any answer."
)


def build_document() -> dict[str, Any]:
    """Return the document, of version 3.1 (https://spec.openapis.org/oas/v3.1.1.html)."""
    return {
        "openapi": "3.1.0",
        "info": {"title": PRODUCT, "version": VERSION, "description": INTRODUCTION},
        "security": [{"key": []}],
        "paths": PATHS,
        "components": {
            "securitySchemes": {"key": {"type": "apiKey", "in": "header", "name": "X-API-Key"}},
            "schemas": SCHEMAS | TRAINING_SCHEMAS,
            "responses": RESPONSES,
        },
    }
