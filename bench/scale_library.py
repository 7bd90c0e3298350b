"""The library of ``python -m bench scale``, in a process of its own."""

import io
import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from flask import Flask, Response, jsonify, request
from PIL import Image, ImageDraw

from app.demo.client_app import serve

PAGE = (300, 400)
IMAGES_OF_A_DOCUMENT = 5

Json = dict[str, Any]


@contextmanager
def run_library() -> Iterator[str]:
    """Run a library in another process; yield its URL."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe()
    process = context.Process(target=_serve_library, args=(sender,), daemon=True)
    process.start()
    try:
        yield receiver.recv()
    finally:
        process.terminate()
        process.join()


def _serve_library(sender: Any) -> None:
    with serve(create_library()) as url:
        sender.send(url)
        time.sleep(86_400)


def create_library() -> Flask:
    """Return a library whose pages all have the same size, and whose lists have different images."""
    app = Flask("library")

    @app.get("/<int:size>/<int:number>/manifest.json")
    def manifest(size: int, number: int) -> Response:
        base = request.host_url.rstrip("/")
        canvases = [{"type": "Canvas", "items": [_build_items(f"{base}/{number}-{each}")]} for each in range(size)]
        return jsonify({"id": f"{base}/{number}", "type": "Manifest", "items": canvases})

    @app.get("/<name>/info.json")
    def info(name: str) -> Response:
        service = _build_service(f"{request.host_url}{name}")
        return jsonify(service | {"width": 10 * PAGE[0], "height": 10 * PAGE[1]})

    @app.get("/<name>/full/<size>/0/default.jpg")
    def image(name: str, size: str) -> Response:
        return Response(draw(0, int(size.partition(",")[0])), mimetype="image/jpeg")

    @app.get("/<int:number>/list.json")
    def images(number: int) -> Response:
        names = range(IMAGES_OF_A_DOCUMENT * number, IMAGES_OF_A_DOCUMENT * (number + 1))
        return jsonify({f"{name}.jpg": f"{request.host_url}drawn/{name}.jpg" for name in names})

    @app.get("/drawn/<int:seed>.jpg")
    def drawn(seed: int) -> Response:
        return Response(draw(seed), mimetype="image/jpeg")

    return app


def _build_service(base: str) -> Json:
    return {"id": base, "type": "ImageService3", "profile": "level1"}


def _build_items(base: str) -> Json:
    body = {"id": f"{base}/full/max/0/default.jpg", "type": "Image", "width": 10 * PAGE[0], "height": 10 * PAGE[1]}
    return {"items": [{"motivation": "painting", "body": body | {"service": [_build_service(base)]}}]}


@lru_cache(maxsize=1000)
def draw(seed: int, width: int = PAGE[0]) -> bytes:
    """Return a JPEG file with a rectangle that depends on the seed."""
    image, body = Image.new("RGB", PAGE, "white"), io.BytesIO()
    left, top = seed * 7 % 200, seed * 13 % 300
    ImageDraw.Draw(image).rectangle((left, top, left + 50 + seed % 50, top + 50 + seed % 40), fill=(seed % 200, 20, 40))
    image.resize((width, width * PAGE[1] // PAGE[0])).save(body, "JPEG")
    return body.getvalue()
