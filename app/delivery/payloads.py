"""Parcels: the bytes of a request, made before it is sent, so that the very bytes can be signed."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import requests


@dataclass(frozen=True)
class Parcel:
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


def build_annotation_parcel(manifest_ref: str, annotations: bytes, model_label: str, experiment_id: str) -> Parcel:
    """Return the annotation file as client apps expect it: a multipart form."""
    fields = {"model": model_label} | ({"experiment_id": experiment_id} if experiment_id else {})
    return _build_form(fields, {"annotation_file": (f"{manifest_ref}.txt", annotations)})


def find_scores_destination(callback: str, client_app_url: str) -> Destination | None:
    """Return where the scores of every pair go; None when neither the request nor the settings name a place."""
    url = callback or (f"{client_app_url}/similarity" if client_app_url else "")
    return Destination(url, url) if url else None


def build_scores_parcel(pair: str, scores: bytes, model: str, experiment_id: str) -> Parcel:
    """Return the scores of a pair of documents as client apps expect them: a multipart form."""
    fields = {"model": model} | ({"experiment_id": experiment_id} if experiment_id else {})
    return _build_form(fields, {pair: (f"{pair}.npy", scores)})


def build_event_parcel(text: str) -> Parcel:
    return Parcel(text.encode(), "application/json")


def format_event(kind: str, timestamp: str, data: Mapping[str, Any]) -> str:
    """Return an event as JSON, as the Standard Webhooks specification proposes.

    https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md#payload-structure
    """
    return json.dumps({"type": kind, "timestamp": timestamp, "data": data}, ensure_ascii=False)


def _build_form(fields: Mapping[str, str], files: Mapping[str, tuple[str, bytes]]) -> Parcel:
    # Encoded by ``requests``, so that the form is what it was before anything was signed. The address is not used.
    form = requests.Request("POST", "http://localhost", data=dict(fields), files=dict(files)).prepare()
    assert isinstance(form.body, bytes)  # noqa: S101 (a form with files is)
    return Parcel(form.body, form.headers["Content-Type"])
