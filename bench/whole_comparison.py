"""Measure a whole similarity job that verifies its best matches, and compute how long a larger one takes.

Every document has turned and resized prints of some blocks, so that at most a tenth of the candidates are prints of one
block. The prints are drawn, or they come from the images of a folder. The job runs in a service: it fetches the images,
embeds them, compares every pair of documents, and verifies the 10 best matches of each image in both directions.

The seconds of larger jobs are computed: the time of a pair of images does not depend on the number of documents.
"""

import argparse
import io
import re
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import requests
from flask import Flask, Response, jsonify, request
from numpy.typing import NDArray
from PIL import Image

from app.demo.client_app import serve
from app.images.pixels import decode_image
from bench.blocks.drawing import draw_prints
from bench.labelled_pages import list_images
from bench.tables import describe_machine, print_table
from tests.support.service import Service, open_service

Picture = NDArray[np.uint8]

LARGE = (50, 200)
# Largest rotation of a print in degrees, and the range of its scale.
ROTATION, SCALES = 2.0, (0.8, 1.1)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--documents", type=int, default=16, help="number of documents (default: %(default)s)")
    parser.add_argument("--images", type=int, default=200, help="images of a document (default: %(default)s)")
    parser.add_argument("--prints", type=Path, metavar="DIR", help="images of the prints (default: drawn)")
    parser.add_argument("--model", default="illustrations", help="backbone (default: %(default)s)")
    parser.add_argument("--cores", default="", metavar="LIST", help="run the service on these cores, such as 0,1")


def run(arguments: argparse.Namespace) -> None:
    pictures = load_pictures(arguments.prints) if arguments.prints else draw_prints(arguments.images).images
    wrapper = ("taskset", "-c", arguments.cores) if arguments.cores else ()
    library = create_library(pictures, arguments.documents, arguments.images)
    settings: dict[str, Any] = {"batch_size": 8, "heartbeat_seconds": 5.0, "precision": "auto"}
    machine = describe_machine()
    with (
        serve(library) as url,
        tempfile.TemporaryDirectory() as data,
        open_service(Path(data), wrapper, **settings) as service,
    ):
        documents = {f"d{number}": f"{url}/{number}/list.json" for number in range(arguments.documents)}
        job = compare(service, documents, arguments.model)
        pairs = count_verified(service)
    seconds = job["timings"]["running"]
    rows = [("measured", arguments.documents, arguments.images, pairs, seconds)]
    of_large = count_pairs(LARGE[0]) / count_pairs(arguments.documents) * (LARGE[1] / arguments.images)
    rows.append(("computed", *LARGE, round(pairs * of_large), seconds * of_large))
    print(f"{len(pictures)} prints, cores: {arguments.cores or 'all'}; {machine}\n")
    head = ("", "documents", "images of each", "pairs of images", "hours", "ms a pair")
    print_table(head, [(*row[:4], f"{row[4] / 3600:.2f}", f"{1000 * seconds / max(1, pairs):.1f}") for row in rows])


def count_pairs(documents: int) -> int:
    """Return the number of pairs of documents; each document is also compared with itself."""
    return documents * (documents + 1) // 2


def load_pictures(folder: Path) -> list[Picture]:
    pictures = []
    for path in list_images(folder, "val"):
        with path.open("rb") as file:
            pictures.append(decode_image(file, None)[0])
    return pictures


def create_library(pictures: Sequence[Picture], documents: int, images: int) -> Flask:
    """Return a library whose documents have different prints of some pictures."""
    app = Flask("library")
    rng = np.random.default_rng(0)
    chosen = [rng.permutation(len(pictures))[:images] for _ in range(documents)]

    @app.get("/<int:number>/list.json")
    def images_of(number: int) -> Response:
        base = f"{request.host_url}{number}"
        return jsonify({f"{number}-{each}.jpg": f"{base}/{each}.jpg" for each in chosen[number]})

    @app.get("/<int:number>/<int:picture>.jpg")
    def image(number: int, picture: int) -> Response:
        return Response(make_print(pictures[picture], number), mimetype="image/jpeg")

    return app


def make_print(picture: Picture, seed: int) -> bytes:
    """Return a JPEG file of a picture, turned and resized as the seed says."""
    rng = np.random.default_rng(seed)
    image, body = Image.fromarray(picture), io.BytesIO()
    fill = tuple(int(value) for value in picture.reshape(-1, 3).max(0))
    turned = image.rotate(rng.uniform(-ROTATION, ROTATION), Image.Resampling.BICUBIC, fillcolor=fill)
    scale = rng.uniform(*SCALES)
    turned.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale)))).save(
        body, "JPEG", quality=85
    )
    return body.getvalue()


def compare(service: Service, documents: dict[str, str], model: str) -> dict[str, Any]:
    """Compare documents; return the finished job."""
    form = {"documents": documents, "model": model}
    job_id = service.post("/run_similarity", json=form)["job_id"]
    while not (job := service.get_job(job_id))["finished"]:
        time.sleep(1)
    assert job["state"] == "done", job
    return job


def count_verified(service: Service) -> int:
    """Return the number of pairs of images that the service has verified."""
    text = requests.get(f"{service.api}/metrics", timeout=30).text
    (number,) = re.findall(r'^\w*image_pairs\w*{status="verified"} (\S+)', text, re.MULTILINE)
    return round(float(number))
