"""Payloads: the bytes of a request, built before it is sent, and the headers that sign just these bytes.

Signatures follow the Standard Webhooks specification, symmetric scheme ``v1``:
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
    """The body of a request, and its ``Content-Type``."""

    body: bytes
    content_type: str


@dataclass(frozen=True)
class Destination:
    """Where something is sent.

    Attributes:
        url: That is posted to.
        endpoint: The address of the client app that it belongs to: one that is gone is gone for every ``url`` under it.
    """

    url: str
    endpoint: str


def find_annotation_destination(callback: str, client_app_url: str, manifest_ref: str) -> Destination | None:
    """Return where the annotations of a manifest go; None when neither the request nor the settings name a place."""
    base = callback.rstrip("/") or (f"{client_app_url}/annotate" if client_app_url else "")
    return Destination(f"{base}/{quote(manifest_ref, safe='')}", base) if base else None


def build_annotation_payload(manifest_ref: str, annotations: bytes, model_label: str, experiment_id: str) -> Payload:
    """Return the annotation file as client apps expect it: a multipart form."""
    fields = {"model": model_label} | ({"experiment_id": experiment_id} if experiment_id else {})
    return _build_form(fields, {"annotation_file": (f"{manifest_ref}.txt", annotations)})


def find_scores_destination(callback: str, client_app_url: str) -> Destination | None:
    """Return where the scores of every pair go; None when neither the request nor the settings name a place."""
    url = callback or (f"{client_app_url}/similarity" if client_app_url else "")
    return Destination(url, url) if url else None


def build_scores_payload(pair: str, scores: bytes, model: str, experiment_id: str) -> Payload:
    """Return the scores of a pair of documents as client apps expect them: a multipart form."""
    fields = {"model": model} | ({"experiment_id": experiment_id} if experiment_id else {})
    return _build_form(fields, {pair: (f"{pair}.npy", scores)})


def build_event_payload(text: str) -> Payload:
    return Payload(text.encode(), "application/json")


def format_event(kind: str, timestamp: str, data: Mapping[str, Any]) -> str:
    """Return an event as JSON, as the Standard Webhooks specification proposes.

    https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md#payload-structure
    """
    return json.dumps({"type": kind, "timestamp": timestamp, "data": data}, ensure_ascii=False)


def _build_form(fields: Mapping[str, str], files: Mapping[str, tuple[str, bytes]]) -> Payload:
    # Encoded by ``requests``, so that the form is what it was before anything was signed. The address is not used.
    form = requests.Request("POST", "http://localhost", data=dict(fields), files=dict(files)).prepare()
    assert isinstance(form.body, bytes)  # noqa: S101 (a form with files is)
    return Payload(form.body, form.headers["Content-Type"])


PREFIX = "whsec_"


def make_secret() -> str:
    """Return a new secret of 256 random bits, as the specification writes it."""
    return PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def build_headers(message_id: str, body: bytes, timestamp: int, secret: str | None) -> dict[str, str]:
    """Return the headers that name a message and, when there is a secret, prove whom it is from.

    Args:
        message_id: Of the message, the same at every try.
        body: The bytes that are sent.
        timestamp: Of this try, in seconds since the epoch: receivers refuse what is old.
        secret: Of the client app; None when it has none.
    """
    if secret is None:
        return {"webhook-id": message_id}
    signature = f"v1,{_sign(secret, f'{message_id}.{timestamp}.'.encode() + body)}"
    return {"webhook-id": message_id, "webhook-timestamp": str(timestamp), "webhook-signature": signature}


def _sign(secret: str, content: bytes) -> str:
    # The library ``standardwebhooks`` signs text only, and a form may hold any bytes. Of text, both make the same.
    key = base64.b64decode(secret.removeprefix(PREFIX))
    return base64.b64encode(hmac.digest(key, content, "sha256")).decode()
