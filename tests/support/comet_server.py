"""A fake of Comet's REST API on loopback."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flask import Flask, Response, jsonify, request

from tests.conftest import serve_on_loopback

KEY = "key-of-an-account"


class Comet:
    """Server that records its requests.

    Attributes:
        asked: Method and path of every request.
        user_agents: Values of the header ``User-Agent``.
        experiments: Fields of the created experiments, by key.
        written: Kind and fields of all written records, in order.
        status: HTTP status of every answer; any other than 200 also disables the API.
        seconds: Delay of every answer, in seconds.
    """

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.user_agents: set[str | None] = set()
        self.experiments: dict[str, dict[str, Any]] = {}
        self.written: list[tuple[str, dict[str, Any]]] = []
        self.status = 200
        self.seconds = 0.0

    @contextmanager
    def open(self) -> Iterator[str]:
        """Run the server; yield its URL."""
        app = Flask("comet")
        app.before_request(self._refuse)
        app.add_url_rule("/api/rest/v2/account-details", view_func=self._describe_account)
        app.add_url_rule("/api/rest/v2/write/experiment/create", view_func=self._create, methods=["POST"])
        app.add_url_rule("/api/rest/v2/write/experiment/<kind>", view_func=self._write, methods=["POST"])
        with serve_on_loopback(app, threaded=True) as port:
            yield f"http://127.0.0.1:{port}"

    def list_metrics(self) -> list[tuple[int, str, float]]:
        """Return epoch, name and value of every metric."""
        metrics = [fields for kind, fields in self.written if kind == "metric"]
        return [(each["epoch"], each["metricName"], each["metricValue"]) for each in metrics]

    def _refuse(self) -> Response | None:
        self.asked.append(f"{request.method} {request.path}")
        self.user_agents.add(request.headers.get("User-Agent"))
        time.sleep(self.seconds)
        if self.status != 200:
            return Response("{}", self.status, headers={"Location": "/elsewhere"})
        return None if request.headers.get("Authorization") == KEY else Response('{"msg": "wrong key"}', 401)

    def _describe_account(self) -> Response:
        return jsonify({"userName": "me", "defaultWorkspaceName": "my-own"})

    def _create(self) -> Response:
        key = f"experiment-{len(self.experiments) + 1}"
        self.experiments[key] = request.get_json()
        return jsonify({"experimentKey": key, "link": f"https://comet.example/{key}"})

    def _write(self, kind: str) -> Response | tuple[Response, int]:
        fields = request.get_json()
        if fields.pop("experimentKey") not in self.experiments:
            return jsonify({"msg": "no such experiment"}), 400
        self.written.append((kind, fields))
        return jsonify({"msg": "Saved"})
