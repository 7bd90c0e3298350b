"""API keys: the client app of a key; new, renewed, hashed and revoked keys and secrets.

A client app may have a secret beside its key: what is sent to it is then signed with that.
"""

import hashlib
import hmac
import secrets

from sqlalchemy import ColumnElement, delete, func, select

from app.database.sessions import Database
from app.database.tables import ClientApp, Secret
from app.delivery.payloads import make_secret
from app.errors import Forbidden, RequestError, Unauthenticated

DIGEST_PREFIX = "sha256:"


def hash_key(key: str) -> str:
    """Return the digest under which a key is stored. A random key of 256 bits needs no slow hash."""
    return DIGEST_PREFIX + hashlib.sha256(key.encode()).hexdigest()


def is_plain(app: ClientApp) -> bool:
    """Tell whether a key is stored as it is, in a row that was inserted by hand."""
    stored = app.app_key.strip()
    return bool(stored) and not stored.startswith(DIGEST_PREFIX)


def find_app(database: Database, key: str | None) -> ClientApp:
    """Return the client app that owns a key.

    Every row is compared, in constant time each: the time taken tells nothing about the keys.

    Raises:
        Unauthenticated: No key was sent.
        Forbidden: Nobody has this key.
    """
    if not key:
        raise Unauthenticated("Send your API key in the header X-API-Key.")
    sent, digest = key.encode(), hash_key(key).encode()
    with database.session() as session:
        apps = session.scalars(select(ClientApp)).all()
    owner = None
    for app in apps:
        stored = app.app_key.strip().encode()
        # A digest is only ever compared with a digest: sending the stored one opens nothing.
        expected = sent if is_plain(app) else digest
        if hmac.compare_digest(stored, expected):
            owner = app
    if owner is None and key.startswith(DIGEST_PREFIX):
        raise Forbidden("This is the stored digest of a key: send the key itself, which was shown when it was made.")
    if owner is None:
        raise Forbidden("This API key is not known here: check it, or ask for a new one.")
    return owner


def add_app(database: Database, name: str) -> str:
    """Register a client app and return its new key, which is stored only as a digest.

    Raises:
        RequestError: The name is empty, too long or taken.
    """
    name = name.strip()
    if not 0 < len(name) <= 50:
        raise RequestError("The name of a client app has 1 to 50 characters.")
    key = secrets.token_urlsafe(32)
    with database.session() as session:
        if session.scalar(select(func.count()).select_from(ClientApp).where(_is_named(name))):
            raise RequestError(f"A client app named {name} is there already: revoke it first, or take another name.")
        session.add(ClientApp(app_name=name, app_key=hash_key(key)))
    return key


def renew_app(database: Database, name: str) -> str:
    """Give a client app a new key, which is returned; the old one opens nothing from now on. Its jobs stay its own.

    Raises:
        RequestError: There is no such client app, or more than one.
    """
    key = secrets.token_urlsafe(32)
    with database.session() as session:
        apps = session.scalars(select(ClientApp).where(_is_named(name))).all()
        if not apps:
            raise RequestError(f"There is no client app named {name}.")
        if len(apps) > 1:  # rows inserted by hand
            raise RequestError(f"There are several client apps named {name}: give each a name of its own first.")
        apps[0].app_key = hash_key(key)
    return key


def renew_secret(database: Database, name: str) -> str:
    """Give a client app a new secret, which is returned: what is sent to it is signed with that from now on.

    Raises:
        RequestError: There is no such client app.
    """
    secret = make_secret()
    with database.session() as session:
        app = session.scalar(select(ClientApp).where(_is_named(name)))
        if app is None:
            raise RequestError(f"There is no client app named {name}.")
        session.merge(Secret(app_id=app.id, secret=secret))
    return secret


def remove_secret(database: Database, name: str) -> None:
    """Forget the secret of a client app: nothing that is sent to it is signed.

    Raises:
        RequestError: It has none.
    """
    named = select(ClientApp.id).where(_is_named(name))
    with database.session() as session:
        removed = session.execute(delete(Secret).where(Secret.app_id.in_(named)))
        if not removed.rowcount:  # type: ignore[attr-defined]
            raise RequestError(f"There is no client app named {name} that has a secret.")


def revoke_app(database: Database, name: str) -> None:
    """Forget a client app: its key opens nothing from now on, and nothing more is signed for it.

    Raises:
        RequestError: There is no such client app.
    """
    named = select(ClientApp.id).where(_is_named(name))
    with database.session() as session:
        session.execute(delete(Secret).where(Secret.app_id.in_(named)))
        if not session.execute(delete(ClientApp).where(_is_named(name))).rowcount:  # type: ignore[attr-defined]
            raise RequestError(f"There is no client app named {name}.")


def hash_plain_keys(database: Database, name: str | None = None) -> list[str]:
    """Store the digest in place of every plain key, or of those of one client app; the keys themselves keep working.

    Returns:
        The client apps whose key was plain.

    Raises:
        RequestError: There is no client app of this name.
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
    """Compare a name without the spaces that a row inserted by hand, or a database that pads ``CHAR``, has after it."""
    return func.trim(ClientApp.app_name) == name.strip()
