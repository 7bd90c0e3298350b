"""Payloads: the body of a webhook request, and the headers that sign it.

Signatures follow the symmetric scheme ``v1`` of the Standard Webhooks specification:
https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import hmac
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import requests


@dataclass(frozen=True)
class Payload:
    """Body of a request, and its ``Content-Type``."""

    body: bytes
    content_type: str


@dataclass(frozen=True)
class Destination:
    """Address of a delivery.

    Attributes:
        url: URL of the POST request.
        endpoint: Callback URL of the client app, with which ``url`` starts. A 410 closes it for every ``url``.
    """

    url: str
    endpoint: str


def find_annotation_destination(callback: str, client_app_url: str, manifest_ref: str) -> Destination | None:
    """Return the destination of an annotation file; None when neither the request nor the settings name a URL."""
    base = callback.rstrip("/") or (f"{client_app_url}/annotate" if client_app_url else "")
    return Destination(f"{base}/{quote(manifest_ref, safe='')}", base) if base else None


def build_annotation_payload(manifest_ref: str, annotations: bytes, model_label: str, experiment_id: str) -> Payload:
    """Return a multipart form with an annotation file."""
    fields = {"model": model_label} | ({"experiment_id": experiment_id} if experiment_id else {})
    return _build_form(fields, {"annotation_file": (f"{manifest_ref}.txt", annotations)})


def find_scores_destination(callback: str, client_app_url: str) -> Destination | None:
    """Return the destination of score files; None when neither the request nor the settings name a URL."""
    url = callback or (f"{client_app_url}/similarity" if client_app_url else "")
    return Destination(url, url) if url else None


def build_scores_payload(pair: str, scores: bytes, model: str, experiment_id: str) -> Payload:
    """Return a multipart form with the score file of a pair of documents."""
    fields = {"model": model} | ({"experiment_id": experiment_id} if experiment_id else {})
    return _build_form(fields, {pair: (f"{pair}.npy", scores)})


def build_event_payload(text: str) -> Payload:
    return Payload(text.encode(), "application/json")


def format_event(kind: str, timestamp: str, data: Mapping[str, Any]) -> str:
    """Return the JSON of an event, in the structure that the Standard Webhooks specification proposes.

    https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md#payload-structure
    """
    return json.dumps({"type": kind, "timestamp": timestamp, "data": data}, ensure_ascii=False)


def _build_form(fields: Mapping[str, str], files: Mapping[str, tuple[str, bytes]]) -> Payload:
    # ``requests`` encodes the form, because the signature needs its bytes. The URL is not used.
    form = requests.Request("POST", "http://localhost", data=dict(fields), files=dict(files)).prepare()
    assert isinstance(form.body, bytes)  # noqa: S101 (a form with files is bytes)
    return Payload(form.body, form.headers["Content-Type"])


PREFIX = "whsec_"


def make_secret() -> str:
    """Return a new secret of 256 random bits, in the format of the specification."""
    return PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def build_headers(message_id: str, body: bytes, timestamp: int, secret: str | None) -> dict[str, str]:
    """Return the headers that identify a message and, with a secret, sign it.

    Args:
        message_id: ID of the delivery, the same for every attempt.
        body: Body of the request.
        timestamp: Time of the attempt in seconds since the epoch; receivers reject old messages.
        secret: Secret of the client app; None when it has none.
    """
    if secret is None:
        return {"webhook-id": message_id}
    signature = f"v1,{_sign(secret, f'{message_id}.{timestamp}.'.encode() + body)}"
    return {"webhook-id": message_id, "webhook-timestamp": str(timestamp), "webhook-signature": signature}


def _sign(secret: str, content: bytes) -> str:
    # The package ``standardwebhooks`` signs only text, and a form may contain any bytes. For text, both agree.
    key = base64.b64decode(secret.removeprefix(PREFIX))
    return base64.b64encode(hmac.digest(key, content, "sha256")).decode()
