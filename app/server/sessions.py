"""Sessions of the pages for people (``/ui``): who is signed in, in a signed cookie.

A person signs in with the API key of a client app. The cookie holds the ID of the client app, a fingerprint of its
stored key, and a token that forms must send back (CSRF). So a session ends when it expires, and when the key is renewed
or revoked. The cookie is sent to ``/ui`` only: the API never sees it.
"""

import hashlib
import hmac
import secrets
from datetime import timedelta
from typing import Any

from flask import Flask, request, session
from flask.sessions import SecureCookieSessionInterface

from app.auth import find_app
from app.database.tables import ClientApp
from app.errors import Forbidden, Unauthenticated
from app.services import current_services

LIFETIME = timedelta(hours=12)
# Path of the pages for people, and of the cookie.
ROOT_PATH = "/ui"


class PageSessions(SecureCookieSessionInterface):
    """Keeps sessions in a cookie for ``/ui``. Its secret is derived from a file that all processes share."""

    salt = "sessions of pages"
    digest_method = staticmethod(hashlib.sha256)

    def get_signing_serializer(self, app: Flask) -> Any:
        app.secret_key = current_services.storage.load_link_secret()
        return super().get_signing_serializer(app)

    def get_cookie_path(self, app: Flask) -> str:
        return f"{request.script_root}{ROOT_PATH}"  # behind a proxy, with its prefix

    def get_cookie_secure(self, app: Flask) -> bool:
        return request.is_secure

    def open_session(self, app: Flask, request: Any) -> Any:
        is_page = request.path == ROOT_PATH or request.path.startswith(f"{ROOT_PATH}/")
        return super().open_session(app, request) if is_page else None


def register(app: Flask) -> None:
    """Install the sessions in an application."""
    app.session_interface = PageSessions()
    app.config.update(
        SESSION_COOKIE_NAME="extractor_session",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_REFRESH_EACH_REQUEST=False,
        PERMANENT_SESSION_LIFETIME=LIFETIME,
    )


def add_token() -> None:
    """Give the sign-in form a token. Without one, another site could sign a person in to a client app of its own."""
    session.setdefault("csrf", secrets.token_urlsafe(24))


def sign_in(key: str) -> ClientApp:
    """Begin a session for the client app with an API key.

    Raises:
        Forbidden: No client app has this key.
    """
    client = find_app(current_services.database, key)
    session.clear()
    session.permanent = True
    session.update(app=client.id, key=_fingerprint(client), csrf=secrets.token_urlsafe(24))
    return client


def sign_out() -> None:
    session.clear()


def find_signed_in() -> ClientApp:
    """Return the client app of the session of the current request.

    Raises:
        Unauthenticated: Nobody is signed in, or the key of the client app has changed.
    """
    if app_id := session.get("app"):
        with current_services.database.session() as database:
            client = database.get(ClientApp, app_id)
        if client and hmac.compare_digest(session["key"], _fingerprint(client)):
            return client
    raise Unauthenticated("You are not signed in, or your session has ended: sign in with your API key.")


def check_token(sent: str) -> None:
    """Check the token of a form, so that other sites cannot send forms in the name of a person.

    Raises:
        Forbidden: The form has no token, or that of another session.
    """
    if not hmac.compare_digest(sent.encode(), str(session.get("csrf", "")).encode()) or not sent:
        raise Forbidden("This form belongs to another session: load the page again, then send the form again.")


def _fingerprint(client: ClientApp) -> str:
    return hashlib.sha256(f"{client.id} {client.app_key.strip()}".encode()).hexdigest()[:32]
