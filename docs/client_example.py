"""Example of client.py: detect the illustrations of a manifest or a file, and print the boxes of each canvas.

    export EXTRACTOR_URL=http://127.0.0.1:5000 EXTRACTOR_KEY=… EXTRACTOR_SECRET=whsec_…
    python docs/client_example.py MANIFEST_URL         # poll until the job has finished
    python docs/client_example.py MANIFEST_URL 8100    # receive its signed events on port 8100

To receive events, first add 127.0.0.1:8100 to TRUSTED_HOSTS in .env of the service and restart it. Otherwise no event
arrives, and the program waits for ever.
"""

import json
import os
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from client import FINISHED, Client, ClientError, Job, JobFailed, is_genuine


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


def print_progress(job: Job) -> None:
    print(job["state"], job["progress"]["done"], "of", job["progress"]["total"], file=sys.stderr)


def main(source: str, port: str = "") -> None:
    api = Client(os.environ["EXTRACTOR_URL"], os.environ["EXTRACTOR_KEY"])
    document = source if "://" in source else Path(source)
    if port:
        with EventReceiver(int(port), os.environ["EXTRACTOR_SECRET"]) as receiver:
            job = receiver.wait(api.detect(document, notify_url=f"http://127.0.0.1:{port}"))
        if job["state"] != "done":
            raise JobFailed(job)
    else:
        job = api.wait(api.detect(document), print_progress)
    for canvas in api.fetch_annotations(job["job_id"])["canvases"]:
        boxes = [detection["xywh"] for detection in canvas["detections"]]
        print(canvas["number"], canvas["image_name"], canvas.get("reason") or boxes)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except (ClientError, OSError) as error:
        sys.exit(str(error))
