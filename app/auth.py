"""API keys and signing secrets of client apps: create, renew, hash, look up and revoke.

A secret is optional. Deliveries to a client app that has one are signed with it (see ``app/delivery/payloads.py``).
"""

import hashlib
import hmac
import secrets

from sqlalchemy import ColumnElement, delete, func, select

from app.database.sessions import Database
from app.database.tables import ClientApp, Secret
from app.delivery.payloads import make_secret
from app.errors import Forbidden, RequestError, Unauthenticated
from app.jobs.rows import cancel_all

DIGEST_PREFIX = "sha256:"


def hash_key(key: str) -> str:
    """Return the digest that is stored instead of a key. A random key of 256 bits needs no slow hash."""
    return DIGEST_PREFIX + hashlib.sha256(key.encode()).hexdigest()


def is_plain(app: ClientApp) -> bool:
    """Return whether a key is stored in plain text, which only happens in rows inserted by hand."""
    stored = app.app_key.strip()
    return bool(stored) and not stored.startswith(DIGEST_PREFIX)


def find_app(database: Database, key: str | None) -> ClientApp:
    """Return the client app that owns a key.

    The key is compared with every row in constant time, so the duration reveals nothing about the stored keys.

    Raises:
        Unauthenticated: The key is missing.
        Forbidden: No client app has this key.
    """
    if not key:
        raise Unauthenticated("The API key is missing: send it in the header X-API-Key.")
    sent, digest = key.encode(), hash_key(key).encode()
    with database.session() as session:
        apps = session.scalars(select(ClientApp)).all()
    owner = None
    for app in apps:
        stored = app.app_key.strip().encode()
        # A stored digest is compared with the digest of the sent key, so a leaked digest is not a valid key.
        expected = sent if is_plain(app) else digest
        if hmac.compare_digest(stored, expected):
            owner = app
    if owner is None and key.startswith(DIGEST_PREFIX):
        raise Forbidden("This is the stored digest of an API key: send the key itself, which was printed once.")
    if owner is None:
        raise Forbidden("This API key is unknown: check it, or ask the operator for a new one.")
    return owner


def find_named_app(database: Database, name: str) -> ClientApp | None:
    """Return the client app with a name; None if there is none, or several."""
    with database.session() as session:
        apps = session.scalars(select(ClientApp).where(_is_named(name)).limit(2)).all()
    return apps[0] if len(apps) == 1 else None


def add_app(database: Database, name: str) -> str:
    """Register a client app and return its new key. Only the digest of the key is stored.

    Raises:
        RequestError: The name is empty, too long or already in use.
    """
    name = name.strip()
    if not 0 < len(name) <= 50:
        raise RequestError(f"The name of a client app must have 1 to 50 characters, not {len(name)}.")
    key = secrets.token_urlsafe(32)
    with database.session() as session:
        if session.scalar(select(func.count()).select_from(ClientApp).where(_is_named(name))):
            raise RequestError(
                f"A client app named {name} already exists: `apps renew {name}` replaces its key, "
                f"`apps secret {name}` its secret."
            )
        session.add(ClientApp(app_name=name, app_key=hash_key(key)))
    return key


def renew_app(database: Database, name: str) -> str:
    """Replace the key of a client app and return the new one. The client app keeps its jobs.

    Raises:
        RequestError: No client app has this name, or several have it.
    """
    key = secrets.token_urlsafe(32)
    with database.session() as session:
        apps = session.scalars(select(ClientApp).where(_is_named(name))).all()
        if not apps:
            raise RequestError(f"There is no client app named {name}.")
        if len(apps) > 1:  # rows inserted by hand
            raise RequestError(f"There are several client apps named {name}: give each a unique name first.")
        apps[0].app_key = hash_key(key)
    return key


def renew_secret(database: Database, name: str) -> str:
    """Replace the signing secret of a client app and return the new one.

    Raises:
        RequestError: No client app has this name.
    """
    secret = make_secret()
    with database.session() as session:
        app = session.scalar(select(ClientApp).where(_is_named(name)))
        if app is None:
            raise RequestError(f"There is no client app named {name}.")
        session.merge(Secret(app_id=app.id, secret=secret))
    return secret


def remove_secret(database: Database, name: str) -> None:
    """Delete the signing secret of a client app. Its deliveries are no longer signed.

    Raises:
        RequestError: No client app with a secret has this name.
    """
    named = select(ClientApp.id).where(_is_named(name))
    with database.session() as session:
        removed = session.execute(delete(Secret).where(Secret.app_id.in_(named)))
        if not removed.rowcount:  # type: ignore[attr-defined]
            raise RequestError(f"No client app named {name} has a secret.")


def revoke_app(database: Database, name: str) -> None:
    """Delete a client app with its key and its signing secret. Cancel its unfinished jobs and pending deliveries.

    Raises:
        RequestError: No client app has this name.
    """
    with database.session() as session:
        revoked = session.scalars(delete(ClientApp).where(_is_named(name)).returning(ClientApp.id)).all()
        if not revoked:
            raise RequestError(f"There is no client app named {name}.")
        session.execute(delete(Secret).where(Secret.app_id.in_(revoked)))
        cancel_all(session, revoked)


def hash_plain_keys(database: Database, name: str | None = None) -> list[str]:
    """Replace keys stored in plain text by their digests. The keys themselves remain valid.

    Args:
        database: Sessions on the database.
        name: Client app to change; None for all.

    Returns:
        The names of the client apps whose key was stored in plain text.

    Raises:
        RequestError: No client app has this name.
    """
    with database.session() as session:
        named = select(ClientApp) if name is None else select(ClientApp).where(_is_named(name))
        apps = session.scalars(named.order_by(ClientApp.id)).all()
        if name is not None and not apps:
            raise RequestError(f"There is no client app named {name}.")
        plain = [app for app in apps if is_plain(app)]
        for app in plain:
            app.app_key = hash_key(app.app_key.strip())
    return [app.app_name.strip() for app in plain]


def _is_named(name: str) -> ColumnElement[bool]:
    """Match a name without trailing spaces, which rows inserted by hand or padded ``CHAR`` columns may have."""
    return func.trim(ClientApp.app_name) == name.strip()
