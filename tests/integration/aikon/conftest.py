"""An AIKON front without a key, in a network that is let in, and a client that stands for it."""

from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient

from app.config import Settings

FRONT = "10.1.2.3"
NOTIFY_URL = "https://front.example/regions/notify"

Post = Callable[..., Any]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"aikon_networks": ("10.1.0.0/16", "2001:db8::/32"), "aikon_app": "front"})


@pytest.fixture
def post(client: FlaskClient, headers: dict[str, str]) -> Post:
    """A function that sends a POST request from the front. The client app ``front`` exists."""

    def send(path: str, **body: Any) -> Any:
        return client.post(path, json=body, environ_overrides={"REMOTE_ADDR": FRONT})

    return send


@pytest.fixture
def get(client: FlaskClient, headers: dict[str, str]) -> Callable[[str], Any]:
    """A function that sends a GET request from the front."""
    return lambda path: client.get(path, environ_overrides={"REMOTE_ADDR": FRONT})


def build_document(uid: str, kind: str = "iiif") -> dict[str, str]:
    return {"type": kind, "src": f"https://front.example/{uid}/manifest.json", "uid": uid}
