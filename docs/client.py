"""A client of extractorAPI: detect the illustrations of a IIIF manifest, and print their boxes.

Usage:

    export EXTRACTOR_URL=http://127.0.0.1:5000 EXTRACTOR_KEY=… EXTRACTOR_SECRET=whsec_…
    python docs/client.py MANIFEST_URL         # poll until the job has finished
    python docs/client.py MANIFEST_URL 8100    # receive its signed events on port 8100

It needs the package requests. The operator gives you the key and the secret.

To receive events, first add 127.0.0.1:8100 to TRUSTED_HOSTS in .env of the service and restart it. Otherwise no event
arrives, and the client waits for ever.
"""

import base64
import hmac
import json
import os
import sys
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import requests

TOLERANCE_SECONDS = 300
FINISHED = ("done", "failed", "cancelled")
Job = dict[str, Any]


class Client:
    """Sends requests with the key of a client app."""

    def __init__(self, url: str, key: str) -> None:
        self._url, self._headers = url.rstrip("/"), {"X-API-Key": key}

    def detect(self, manifest_url: str, **options: str) -> str:
        """Send a manifest, with further fields of ``POST /run_detect``; return the ID of the job."""
        return str(self._request("POST", "/run_detect", data={"manifest_url": manifest_url} | options)["job_id"])

    def wait(self, job_id: str) -> Job:
        """Poll until a job has finished, with growing waits; return the job."""
        pause = 0.5
        while (job := self._request("GET", f"/jobs/{job_id}"))["state"] not in FINISHED:
            time.sleep(pause)
            pause = min(1.5 * pause, 30)
        return job

    def read_canvases(self, job_id: str) -> list[dict[str, Any]]:
        """Return the canvases of a manifest, each with its detections."""
        return list(self._request("GET", f"/jobs/{job_id}/annotations?format=json")["canvases"])

    def _request(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        while True:
            answer = requests.request(method, self._url + path, headers=self._headers, timeout=60, **options)
            if answer.status_code not in (429, 503):
                break
            time.sleep(int(answer.headers.get("Retry-After", 30)))
        if not answer.ok:
            raise RuntimeError(answer.json()["message"])
        return dict(answer.json())


class EventReceiver(HTTPServer):
    """Receives the events of jobs. Its address is the ``notify_url`` of a request."""

    def __init__(self, port: int, secret: str) -> None:
        super().__init__(("127.0.0.1", port), EventHandler)
        self.secret, self.finished = secret, dict[str, Job]()

    def wait(self, job_id: str) -> Job:
        """Receive events until a job has finished; return the job."""
        while job_id not in self.finished:
            self.handle_request()
        return self.finished[job_id]


class EventHandler(BaseHTTPRequestHandler):
    """Accepts events that the service has signed."""

    server: EventReceiver
    timeout = 20  # seconds for a silent connection

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        genuine = is_genuine(body, dict(self.headers.items()), self.server.secret)
        if genuine and (job := json.loads(body)["data"])["state"] in FINISHED:
            self.server.finished[job["job_id"]] = job
        self.send_response(204 if genuine else 403)
        self.end_headers()


def is_genuine(body: bytes, headers: Mapping[str, str], secret: str) -> bool:
    """Return whether a message was signed with the secret, at most five minutes ago."""
    sent = {name.lower(): value for name, value in headers.items()}
    try:
        message_id, timestamp = sent["webhook-id"], sent["webhook-timestamp"]
        signatures = sent["webhook-signature"].split(" ")
        age = time.time() - int(timestamp)
    except (KeyError, ValueError):
        return False
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.digest(key, f"{message_id}.{timestamp}.".encode() + body, "sha256")
    expected = b"v1," + base64.b64encode(digest)
    matches = any(hmac.compare_digest(expected, each.encode()) for each in signatures)
    return matches and abs(age) <= TOLERANCE_SECONDS


def main(manifest_url: str, port: str = "") -> None:
    client = Client(os.environ["EXTRACTOR_URL"], os.environ["EXTRACTOR_KEY"])
    if port:
        with EventReceiver(int(port), os.environ["EXTRACTOR_SECRET"]) as receiver:
            job = receiver.wait(client.detect(manifest_url, notify_url=f"http://127.0.0.1:{port}"))
    else:
        job = client.wait(client.detect(manifest_url))
    if job["state"] != "done":
        sys.exit(f"The job is {job['state']}: {job['error']}")
    for canvas in client.read_canvases(job["job_id"]):
        boxes = [detection["xywh"] for detection in canvas["detections"]]
        print(canvas["number"], canvas["image_name"], canvas.get("reason") or boxes)


if __name__ == "__main__":
    main(*sys.argv[1:])
