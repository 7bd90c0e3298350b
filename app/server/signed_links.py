"""Signed links: the manifest and the page images of one job, without an API key, until a time.

A viewer in a browser cannot send ``X-API-Key``. The signature covers the job, the time, and the stored key of its
client app. So a link also ends when that key is renewed or revoked. The secret is a file in the data folder, which all
processes share.
"""

import hashlib
import hmac
import re
import time
from collections.abc import Mapping
from urllib.parse import urlencode

from itsdangerous import Signer

from app.database.tables import ClientApp, Job
from app.errors import Forbidden
from app.services import current_services

SECONDS_PER_DAY = 86_400
DEFAULT_DAYS, MOST_DAYS = 7, 365


def choose_expiry(days: int = DEFAULT_DAYS) -> int:
    """Return the end of a new link, in seconds since the epoch."""
    return int(time.time()) + days * SECONDS_PER_DAY


def build_query(job_id: str, client: ClientApp, expires: int) -> str:
    """Return the query of a link, with its question mark.

    Args:
        job_id: ID of a job of the client app.
        client: Client app that gives access.
        expires: End of the link, in seconds since the epoch.
    """
    return f"?{urlencode({'signature': _sign(job_id, client, expires), 'expires': expires})}"


def find_linked_app(job_id: str, query: Mapping[str, str]) -> ClientApp:
    """Return the client app of a job, if the query of a request has a valid signature for this job.

    Raises:
        Forbidden: The signature is not valid, or the link has expired.
    """
    signature, expires = query.get("signature", ""), query.get("expires", "")
    wrong = Forbidden("The signature of this link is not valid: POST /jobs/<id>/links makes a new link.")
    if not (re.fullmatch("[0-9a-f]{32}", job_id) and re.fullmatch("[0-9]{1,11}", expires, re.ASCII)):
        raise wrong
    with current_services.database.session() as session:
        job = session.get(Job, job_id)
        client = session.get(ClientApp, job.app_id) if job else None
    if client is None or not _is_equal(signature, _sign(job_id, client, int(expires))):
        raise wrong
    if int(expires) < time.time():
        raise Forbidden("This link has expired: POST /jobs/<id>/links makes a new one.")
    return client


def _sign(job_id: str, client: ClientApp, expires: int) -> str:
    secret = current_services.storage.load_link_secret()
    signer = Signer(secret, salt="links of viewers", key_derivation="hmac", digest_method=hashlib.sha256)
    return signer.get_signature(f"{job_id} {expires} {client.app_key.strip()}").decode()


def _is_equal(text: str, other: str) -> bool:
    """Compare in constant time. The lenient base64 of ``Signer.verify_signature`` would accept altered signatures."""
    return hmac.compare_digest(text.encode("utf-8", "replace"), other.encode())
