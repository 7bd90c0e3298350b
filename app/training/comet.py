"""A client of Comet's REST API (https://www.comet.com/docs/v2/api-and-sdk/rest-api/write-endpoints/).

Not the package ``comet_ml``: as soon as it is imported, it reports errors to a service of its own, patches torch and
twenty other packages, and is found and started by ultralytics as well. Here nothing is sent but what is said.
"""

import base64
import contextlib
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3

from app.net.addresses import AddressGuard
from app.net.transport import Deadline, GuardedSession

HOME = "https://www.comet.com"
# For one request, from the connection to the end of the answer.
SECONDS = 10.0

# Answers after which the same request may well succeed.
_PASSING = frozenset({408, 425, 429})


class CometRefused(Exception):
    """Comet does not take this, now or later: a wrong key, no such workspace, an experiment that is gone."""


class CometUnreachable(Exception):
    """Comet did not answer, or asks to come back later."""


class CometClient:
    """Writes experiments. One thread at a time may use it.

    Args:
        api_key: Of an account; those of a Comet elsewhere may carry its address.
        url: Of a Comet elsewhere; else the address in the key, or comet.com.
        user_agent: Names the software.
        seconds: For one request.
    """

    def __init__(self, api_key: str, url: str = "", user_agent: str = "", seconds: float = SECONDS) -> None:
        parts = urlsplit(url or _read_address(api_key) or HOME)
        self.address = f"{parts.scheme}://{parts.netloc}"
        self._headers = {"Authorization": api_key, "User-Agent": user_agent or "extractorAPI"}
        self._seconds = seconds
        # Whoever runs this server has named the address: it may be private.
        self._session = GuardedSession(AddressGuard(frozenset({str(parts.hostname)})))

    def close(self) -> None:
        """Close the connection."""
        self._session.close()

    def create_experiment(self, workspace: str, project: str, name: str) -> dict[str, Any]:
        """Make an experiment; return its ``experimentKey`` and ``link``.

        Args:
            workspace: Empty for that of the account.
            project: Made where it is missing.
            name: To show.
        """
        workspace = workspace or str(self._ask("GET", "account-details").get("defaultWorkspaceName"))
        fields = {"workspaceName": workspace, "projectName": project, "experimentName": name}
        experiment = self._ask("POST", "write/experiment/create", fields)
        if not experiment.get("experimentKey"):
            raise CometRefused(f"{self.address} made no experiment.")
        return experiment

    def write(self, kind: str, experiment: str, fields: Mapping[str, Any]) -> None:
        """Write something of an experiment: ``parameter``, ``metric``, ``log-other``."""
        self._ask("POST", f"write/experiment/{kind}", {"experimentKey": experiment, **fields})

    def _ask(self, method: str, path: str, fields: Mapping[str, Any] | None = None) -> dict[str, Any]:
        url = f"{self.address}/api/rest/v2/{path}"
        with Deadline(self._seconds, self._session.transport.abort) as deadline:
            try:
                answer = self._session.request(method, url, json=fields, headers=self._headers, timeout=self._seconds)
                content = answer.json() if answer.ok and answer.content else {}
            except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
                raise CometUnreachable(f"{self.address} did not answer ({type(error).__name__}).") from error
        status = answer.status_code
        if deadline.expired or status >= 500 or status in _PASSING:
            raise CometUnreachable(f"{self.address} answered {status}.")
        if not 200 <= status < 300:
            advice = "see COMET_API_KEY, COMET_PROJECT_NAME and COMET_WORKSPACE in .env"
            raise CometRefused(f"{self.address} answered {status} to {path}: {advice}.")
        return content if isinstance(content, dict) else {}


def _read_address(api_key: str) -> str:
    """Return the address that an API key carries behind its ``*``, as base64 of JSON with ``baseUrl``; or ""."""
    with contextlib.suppress(ValueError, AttributeError):
        return str(json.loads(base64.b64decode(api_key.partition("*")[2] + "==")).get("baseUrl") or "")
    return ""
