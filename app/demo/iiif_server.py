"""A small IIIF server for a folder of images (Presentation API 3; Image API 3, level 1).

    python -m app.demo.iiif_server FOLDER [--port 8182]

The manifest is at ``/manifest.json``. It has one canvas for each image, in the order of the file names.
"""

import argparse
import io
import re
from pathlib import Path

from flask import Flask, Response, abort, jsonify, request
from PIL import Image

from app.images.pixels import decode_picture, read_size

SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".jp2", ".gif", ".bmp", ".ppm", ".pgm", ".pbm", ".avif")


def create_iiif_server(folder: Path, quality: int = 85) -> Flask:
    """Return an application that serves a folder of images over IIIF, as JPEG with a quality from 1 to 95."""
    app = Flask("iiif_server")
    found = {path.name: path for path in sorted(folder.iterdir()) if path.suffix.lower() in SUFFIXES}
    sizes = {name: size for name, path in found.items() if (size := _read_size(path))}
    images = {name: found[name] for name in sizes}

    @app.after_request
    def allow_viewers(response: Response) -> Response:
        """Allow the scripts of all sites to read it: https://iiif.io/api/presentation/3.0/#63-responses"""
        response.headers["Access-Control-Allow-Origin"] = "*"
        return response

    @app.get("/manifest.json")
    def manifest() -> Response:
        base = request.host_url.rstrip("/")
        canvases = [_build_canvas(base, number, name, *sizes[name]) for number, name in enumerate(images, 1)]
        return jsonify(
            {
                "@context": "http://iiif.io/api/presentation/3/context.json",
                "id": f"{base}/{folder.name}/manifest.json",
                "type": "Manifest",
                "label": {"none": [folder.name]},
                "items": canvases,
            }
        )

    @app.get("/iiif/<name>/info.json")
    def info(name: str) -> Response:
        width, height = sizes.get(name) or abort(404)
        service = _build_service(request.host_url.rstrip("/"), name)
        return jsonify(service | {"protocol": "http://iiif.io/api/image", "width": width, "height": height})

    @app.get("/iiif/<name>/<region>/<size>/0/default.jpg")
    def image(name: str, region: str, size: str) -> Response:
        left, top, right, bottom = _parse_region(region, *(sizes.get(name) or abort(404)))
        target = _parse_size(size, right - left, bottom - top)
        is_whole = region == "full"
        with images[name].open("rb") as file:
            picture, extent = decode_picture(file, max(target) if is_whole else None)
        # After a reduced decode, the image may end within the last row and column. The box is its extent.
        box = (0.0, 0.0, *extent) if is_whole else (left, top, right, bottom)
        reduced = picture.resize(target, Image.Resampling.LANCZOS, box)
        body = io.BytesIO()
        reduced.save(body, "JPEG", quality=quality)
        return Response(body.getvalue(), mimetype="image/jpeg")

    return app


def _read_size(path: Path) -> tuple[int, int] | None:
    """Return the (width, height) of an image file, or None if it is not a readable image."""
    try:
        with path.open("rb") as file:
            return read_size(file)
    except (OSError, SyntaxError, Image.DecompressionBombError):
        print(f"{path.name} is left out: it is not a readable image.", flush=True)
        return None


def _parse_region(region: str, width: int, height: int) -> tuple[int, int, int, int]:
    """Return the edges (left, top, right, bottom) of a requested region: ``full`` or ``x,y,w,h``."""
    if region == "full":
        return 0, 0, width, height
    match = re.fullmatch(r"(\d{1,5}),(\d{1,5}),(\d{1,5}),(\d{1,5})", region)
    x, y, w, h = map(int, match.groups()) if match else abort(400, "The region must be full or x,y,w,h.")
    right, bottom = min(x + w, width), min(y + h, height)
    if right <= x or bottom <= y:
        abort(400, "The region is empty or outside the image.")
    return x, y, right, bottom


def _parse_size(size: str, width: int, height: int) -> tuple[int, int]:
    """Return the (width, height) of a requested size: ``max``, ``w,``, ``,h`` or ``w,h``."""
    if size == "max":
        return width, height
    match = re.fullmatch(r"(\d{1,5})?,(\d{1,5})?", size)
    if not match or size == ",":
        abort(400, "The size must be max or w, or ,h or w,h.")
    w, h = (int(part) if part else None for part in match.groups())
    w, h = w or round(width * (h or 1) / height), h or round(height * (w or 1) / width)
    if not (0 < w <= width and 0 < h <= height):
        abort(400, "The size is larger than the region; images are not enlarged.")
    return w, h


def _build_service(base: str, name: str) -> dict[str, str]:
    return {
        "@context": "http://iiif.io/api/image/3/context.json",
        "id": f"{base}/iiif/{name}",
        "type": "ImageService3",
        "profile": "level1",
    }


def _build_canvas(base: str, number: int, name: str, width: int, height: int) -> dict[str, object]:
    canvas = f"{base}/canvas/{number}"
    service = {key: value for key, value in _build_service(base, name).items() if key != "@context"}
    body = {
        "id": f"{base}/iiif/{name}/full/max/0/default.jpg",
        "type": "Image",
        "format": "image/jpeg",
        "width": width,
        "height": height,
        "service": [service],
    }
    painting = {"id": f"{canvas}/image", "type": "Annotation", "motivation": "painting", "body": body, "target": canvas}
    page = {"id": f"{canvas}/page", "type": "AnnotationPage", "items": [painting]}
    return {"id": canvas, "type": "Canvas", "width": width, "height": height, "items": [page]}


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve a folder of images over IIIF.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8182)
    arguments = parser.parse_args()
    print(f"http://{arguments.host}:{arguments.port}/manifest.json")
    create_iiif_server(arguments.folder.resolve()).run(arguments.host, arguments.port, threaded=True)


if __name__ == "__main__":
    main()
