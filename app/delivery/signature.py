"""Signatures of what is sent, by the Standard Webhooks specification, symmetric scheme ``v1``.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import hmac
import secrets

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
