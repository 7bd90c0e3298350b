"""The answers that refuse a request, which many routes share."""

from typing import Any

from app.openapi.schemas import refer

_REASONS = {
    400: "There is no API key, or a field cannot be used: the message names it.",
    403: "Nobody has this API key.",
    404: "There is no such job or data set of yours, or nothing of that name.",
    413: "The request is too large, or what is in it.",
    429: "There were too many requests.",
    503: "The database or the broker cannot be used now, or enough others do the same: nothing was done.",
    507: "The server's disk is full: nothing was done.",
}
_WAITS = {"Retry-After": {"required": True, "description": "Seconds to wait.", "schema": {"type": "integer"}}}


def _build(status: int) -> dict[str, Any]:
    response = {"description": _REASONS[status], "content": {"application/json": {"schema": refer("Error")}}}
    return response | ({"headers": _WAITS} if status in (429, 503) else {})


RESPONSES = {str(status): _build(status) for status in _REASONS}


def answers(content: dict[str, Any], *refusals: int) -> dict[str, Any]:
    """Return the answers of a route: 200 with some content (media type → schema), and how it may refuse."""
    accepted = {"description": "OK", "content": {kind: {"schema": schema} for kind, schema in content.items()}}
    return {"200": accepted} | {str(status): {"$ref": f"#/components/responses/{status}"} for status in refusals}
