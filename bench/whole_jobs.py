"""Measure whole detection jobs: seconds from the request to the end, next to a short script without the service.

A library on this machine serves the pages; it keeps each answer, and a first round prepares them. The service fetches
at the default politeness, then from a trusted host, and then finds the pages in its cache. The script fetches 1000
pixels of each page and calls ultralytics' ``predict``, one page after the other. The floor is the forward pass alone on
the same pages, with the fastest runtime of the device.
"""

import argparse
import io
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import requests
from flask import Flask, Response, request
from PIL import Image

from app.config import ROOT
from app.demo.client_app import serve
from app.demo.iiif_server import create_iiif_server
from app.detection.detector import DetectorConfig
from app.detection.precision import Precision
from bench.detection_speed import draw_inputs, forward
from bench.labelled_pages import WEIGHTS, list_images, open_detector
from bench.politeness import LOOPBACK
from bench.tables import describe_machine, print_table
from tests.support.service import Service, open_service

# As installed, unlike the settings of the tests.
SETTINGS: dict[str, Any] = {"batch_size": 8, "heartbeat_seconds": 5.0, "precision": "auto", "trusted_hosts": LOOPBACK}
FLOOR = "floor: bare forward pass"
SCRIPT = "script: 1000 pixels, one page after the other"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    pages = ROOT / "iiif" / "sample"
    parser.add_argument("--pages", type=Path, default=pages, metavar="DIR", help="pages (default: the sample document)")
    parser.add_argument("--count", type=int, default=100, help="pages of a job, repeated if necessary (default: 100)")
    parser.add_argument("--small-jobs", type=int, default=100, help="manifests of one page (default: 100)")


def run(arguments: argparse.Namespace) -> None:
    """Print seconds and pages per second of each way, and the requests that the library counted."""
    with tempfile.TemporaryDirectory() as folder:
        for number, path in enumerate(islice(cycle(list_images(arguments.pages, "val")), arguments.count)):
            (Path(folder) / f"{number:05d}.jpg").symlink_to(path.resolve())
        app, counted = keep_answers(create_iiif_server(Path(folder)))
        inputs = draw_inputs(list_images(Path(folder)), open_detector(WEIGHTS, DetectorConfig()))
        detector = open_detector(WEIGHTS, DetectorConfig(precision=Precision.AUTO, streams=0))
        forward(detector, inputs)  # the first batch of a shape takes longer
        with serve(app) as library:
            rows = [measure_script(library, arguments.count, counted)]
            # By its address the library is a trusted host; by its name it is a host like any other.
            with tempfile.TemporaryDirectory() as data, open_service(Path(data), **SETTINGS) as service:
                named = f"{library.replace('127.0.0.1', 'localhost')}/manifest.json"
                rows += measure_service(service, named, "default politeness", arguments.count, counted)
                trusted = f"{library}/manifest.json"
                rows += measure_service(service, trusted, "trusted host", arguments.count, counted)
                rows.append(
                    measure(f"{FLOOR}, {detector.runtime}", partial(forward, detector, inputs), arguments.count, [])
                )
                rows.append(measure_small_jobs(service, trusted, arguments.small_jobs, counted))
    print(f"{arguments.count} pages, {describe_machine()}\n")
    print_table(["way", "seconds", "pages/s", "requests"], rows)


def keep_answers(app: Flask) -> tuple[Flask, list[str]]:
    """Let an application keep its answers; return it with the list of the requested paths."""
    kept: dict[str, tuple[bytes, str]] = {}
    counted: list[str] = []

    @app.before_request
    def find() -> Response | None:
        counted.append(request.full_path)
        key = f"{request.host} {request.full_path}"
        return Response(kept[key][0], mimetype=kept[key][1]) if key in kept else None

    @app.after_request
    def keep(response: Response) -> Response:
        response.direct_passthrough = False
        kept[f"{request.host} {request.full_path}"] = response.get_data(), response.mimetype or ""
        return response

    return app, counted


def measure_script(library: str, count: int, counted: list[str]) -> tuple[str, str, str, str]:
    from ultralytics import YOLO

    network = YOLO(WEIGHTS)

    def fetch_and_predict() -> None:
        manifest = requests.get(f"{library}/manifest.json", timeout=30).json()
        for canvas in manifest["items"]:
            body = canvas["items"][0]["items"][0]["body"]
            width = body["width"] * 1000 // max(1000, body["width"], body["height"])
            image = requests.get(f"{body['service'][0]['id']}/full/{width},/0/default.jpg", timeout=30)
            network.predict(Image.open(io.BytesIO(image.content)), imgsz=640, verbose=False)

    fetch_and_predict()
    return measure(SCRIPT, fetch_and_predict, count, counted)


def measure_service(
    service: Service, url: str, name: str, count: int, counted: list[str]
) -> list[tuple[str, str, str, str]]:
    """Measure a job that fetches its pages, and one that finds them in the cache."""

    def detect(path: str) -> None:
        """Submit the manifest, and wait for the result as a client app does that does not poll."""
        service.receiver.received.clear()
        job_id = service.post(path, data={"manifest_url": url})["job_id"]
        service.wait_for_messages()
        job = service.wait_until_finished(job_id)
        assert job["state"] == "done", job

    detect("/run_detect")  # the library prepares its answers
    return [
        measure(f"service, {name}", lambda: detect("/delete_detect"), count, counted),
        measure(f"service, {name}, pages cached", lambda: detect("/run_detect"), count, counted),
    ]


def measure_small_jobs(service: Service, url: str, count: int, counted: list[str]) -> tuple[str, str, str, str]:
    """Measure many manifests of one page each."""
    library = url.rpartition("/")[0]
    manifest = requests.get(url, timeout=30).json()
    pages = islice(cycle(manifest["items"]), count)

    def detect_all() -> None:
        """Submit all manifests, and wait for the results as a client app does that does not poll."""
        service.receiver.received.clear()
        jobs = service.post("/detect_all", files={"url_file": "\n".join(urls)})["jobs"]
        service.wait_for_messages(len(jobs))

    small = Flask("small")
    documents = [manifest | {"id": f"{library}/{n}/manifest.json", "items": [page]} for n, page in enumerate(pages)]
    small.add_url_rule("/<int:number>/manifest.json", view_func=lambda number: documents[number], endpoint="manifest")
    with serve(small) as address:
        urls = [f"{address}/{number}/manifest.json" for number in range(count)]
        return measure(f"service, trusted host, {count} manifests of one page", detect_all, count, counted)


def measure(name: str, way: Callable[[], None], count: int, counted: list[str]) -> tuple[str, str, str, str]:
    counted.clear()
    start = time.perf_counter()
    way()
    seconds = time.perf_counter() - start
    return name, f"{seconds:.1f}", f"{count / seconds:.1f}", str(len(counted))
