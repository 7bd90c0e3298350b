"""A fake IIIF server on loopback that can misbehave.

It serves manifests (Presentation 2 and 3) and drawn images (Image API 1, 2, 3, levels 0 to 2), and records requests.
A test can set the response of any path: a status, a truncated or endless body, single bytes, or silence.
"""

import contextlib
import functools
import io
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from flask import Flask, Response, request
from PIL import Image, ImageDraw

from app.demo.client_app import serve

CONTEXTS = {
    1: "http://library.stanford.edu/iiif/image-api/1.1/context.json",
    2: "http://iiif.io/api/image/2/context.json",
    3: "http://iiif.io/api/image/3/context.json",
}
PROFILES = {
    1: "http://library.stanford.edu/iiif/image-api/1.1/compliance.html#level{level}",
    2: "http://iiif.io/api/image/2/level{level}.json",
    3: "level{level}",
}


@functools.lru_cache(maxsize=64)
def draw_image(width: int, height: int, form: str = "JPEG") -> bytes:
    """Return an image file with a black rectangle in its middle."""
    image = Image.new("RGB", (width, height), "white")
    if min(width, height) > 8:
        box = (width // 4, height // 4, width * 3 // 4, height * 3 // 4)
        ImageDraw.Draw(image).rectangle(box, fill="black")
    body = io.BytesIO()
    image.save(body, form)
    return body.getvalue()


@dataclass(frozen=True)
class Asked:
    """A request: its path with the query, not decoded, and its headers."""

    path: str
    headers: dict[str, str]


@dataclass(frozen=True)
class Answer:
    """The response of a path.

    Attributes:
        status, body, headers: Parts of the HTTP response; an object or a list as body is sent as JSON.
        missing: Number of bytes by which ``Content-Length`` exceeds the body.
        trickle: Whether to send byte by byte, endlessly if the body is empty.
        endless: Whether to repeat the body endlessly.
        hang: Whether to send nothing until the server closes.
        raw: Bytes to send instead of an HTTP response, before the connection is closed.
    """

    status: int = 200
    body: Any = b""
    headers: dict[str, str] = field(default_factory=dict)
    missing: int = 0
    trickle: bool = False
    endless: bool = False
    hang: bool = False
    raw: bytes | None = None

    @property
    def content(self) -> bytes:
        if isinstance(self.body, bytes):
            return self.body
        return (self.body if isinstance(self.body, str) else json.dumps(self.body)).encode()


def redirect(location: str, status: int = 302) -> Answer:
    """Return a redirect."""
    return Answer(status, headers={"Location": location})


@dataclass(frozen=True)
class Scan:
    """An image behind an image service.

    Attributes:
        width, height: Size of the full-size image.
        version, level: Version and level of the image service; it accepts the keywords of its version only.
        regions: Whether it cuts regions, without reducing them.
        forms: Accepted forms of a size: ``full`` (or ``max``), ``w,``, ``w,h``.
        sizes: Listed sizes; at level 0, no other size except the full size is served.
        info: Whether it serves an ``info.json``.
        refusal: Status of the response to any other request.
        names: Accepted last parts of an image request; empty for that of the version.
        instead: Response to every image request, such as a login page.
        more: Members to add to or replace in ``info.json``.
    """

    width: int = 1200
    height: int = 1600
    version: int = 2
    level: int = 1
    regions: bool = False
    forms: tuple[str, ...] = ("full", "w,", "w,h")
    sizes: tuple[tuple[int, int], ...] = ()
    info: bool = True
    refusal: int = 400
    names: tuple[str, ...] = ()
    instead: Answer | None = None
    more: dict[str, Any] = field(default_factory=dict)

    def build_service(self, base: str) -> dict[str, Any]:
        """Return the service block of a manifest."""
        profile = PROFILES[self.version].format(level=self.level)
        if self.version == 3:
            return {"id": base, "type": "ImageService3", "profile": profile}
        return {"@context": CONTEXTS[self.version], "@id": base, "profile": profile}

    def build_info(self, base: str) -> dict[str, Any]:
        sizes = [{"width": width, "height": height} for width, height in self.sizes]
        size = {"width": self.width, "height": self.height, "protocol": "http://iiif.io/api/image"}
        listed = {"sizes": sizes} if sizes else {}
        return {"@context": CONTEXTS[self.version]} | self.build_service(base) | size | listed | self.more

    def build_url(self, base: str) -> str:
        full_size = "max" if self.version == 3 else "full"
        return f"{base}/full/{full_size}/0/{'native' if self.version == 1 else 'default'}.jpg"

    def draw(self, request_path: str) -> Answer:
        """Answer ``{region}/{size}/0/{quality}.{format}``."""
        if self.instead:
            return self.instead
        region, size, rotation, name = request_path.split("/")
        if rotation != "0" or name not in (self.names or (f"{'native' if self.version == 1 else 'default'}.jpg",)):
            return Answer(self.refusal, "no such request")
        wanted = self._parse_size(size) if region == "full" else self._parse_region(region, size)
        form = "PNG" if name.endswith("png") else "WEBP" if name.endswith("webp") else "JPEG"
        return Answer(body=draw_image(*wanted, form)) if wanted else Answer(self.refusal)

    def _parse_region(self, region: str, size: str) -> tuple[int, int] | None:
        """Return the size of a region at full size, cropped at the edge of the image."""
        x, y, width, height = map(int, region.split(","))
        found = min(width, self.width - x), min(height, self.height - y)
        full_sizes = (f"{found[0]},", f",{found[1]}", "max" if self.version == 3 else "full")
        return found if self.regions and min(found) > 0 and size in full_sizes else None

    def _parse_size(self, size: str) -> tuple[int, int] | None:
        if size == ("max" if self.version == 3 else "full"):
            return (self.width, self.height) if "full" in self.forms else None
        width, _, height = size.partition(",")
        form = "w,h" if height else "w,"
        if not width.isdecimal() or form not in self.forms:
            return None
        found = int(width), int(height) if height else round(self.height * int(width) / self.width)
        listed = self.level > 0 or found in self.sizes
        return found if listed and found[0] <= self.width and found[1] <= self.height else None


def build_manifest_2(base: str, scans: list[Scan], name: str = "ms-2") -> dict[str, Any]:
    """Return a Presentation 2 manifest of scans served at ``{base}/iiif/{number}``."""
    canvases = []
    for number, scan in enumerate(scans, 1):
        service = scan.build_service(f"{base}/iiif/{number}")
        resource: dict[str, Any] = {
            "@id": scan.build_url(f"{base}/iiif/{number}"),
            "@type": "dctypes:Image",
            "service": service,
        }
        resource |= {"width": scan.width, "height": scan.height}
        image = {"@type": "oa:Annotation", "motivation": "sc:painting", "resource": resource}
        canvases.append({"@id": f"{base}/canvas/{number}", "@type": "sc:Canvas", "images": [image]})
    return {
        "@context": "http://iiif.io/api/presentation/2/context.json",
        "@id": f"{base}/{name}/manifest.json",
        "@type": "sc:Manifest",
        "sequences": [{"@type": "sc:Sequence", "canvases": canvases}],
    }


def build_manifest_3(base: str, scans: list[Scan], name: str = "ms-3") -> dict[str, Any]:
    """Return a Presentation 3 manifest of scans served at ``{base}/iiif/{number}``."""
    canvases = []
    for number, scan in enumerate(scans, 1):
        service = scan.build_service(f"{base}/iiif/{number}")
        body: dict[str, Any] = {"id": scan.build_url(f"{base}/iiif/{number}"), "type": "Image", "service": [service]}
        body |= {"width": scan.width, "height": scan.height}
        painting = {"type": "Annotation", "motivation": "painting", "body": body}
        page = {"type": "AnnotationPage", "items": [painting]}
        canvases.append({"id": f"{base}/canvas/{number}", "type": "Canvas", "items": [page]})
    return {
        "@context": "http://iiif.io/api/presentation/3/context.json",
        "id": f"{base}/{name}/manifest.json",
        "type": "Manifest",
        "items": canvases,
    }


class Library:
    """The server. ``with Library().open() as library:`` serves it at ``library.url``; :meth:`forget` resets it.

    Attributes:
        url: Base URL.
        asked: Received requests, in order.
        refused: Paths of the requests that were answered with an error.
    """

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[Asked] = []
        self.refused: list[str] = []
        self._answers: dict[str, list[Answer]] = {}
        self._scans: dict[str, Scan] = {}
        self._lock = threading.Lock()
        self._closing = threading.Event()

    @property
    def paths(self) -> list[str]:
        return [asked.path for asked in self.asked]

    def forget(self) -> None:
        """Drop all responses and recorded requests, and end running responses."""
        self._closing.set()
        self._closing = threading.Event()
        self._answers.clear()
        self._scans.clear()
        self.asked.clear()
        self.refused.clear()

    @contextmanager
    def open(self) -> Iterator["Library"]:
        with serve(self._create_app()) as self.url:
            try:
                yield self
            finally:
                self._closing.set()

    def answer(self, path: str, *answers: Answer) -> str:
        """Set the successive responses of a path; the last one is repeated. Return the URL."""
        self._answers[path] = list(answers)
        return f"{self.url}{path}"

    def offer(self, scan: Scan, name: str = "1") -> str:
        """Serve an image service. Return its base URL."""
        self._scans[name] = scan
        return f"{self.url}/iiif/{name}"

    def offer_manifest(self, scans: list[Scan], version: int = 3, path: str = "/manifest.json") -> str:
        """Serve a manifest and its images. Return its URL."""
        for number, scan in enumerate(scans, 1):
            self.offer(scan, str(number))
        build = build_manifest_2 if version == 2 else build_manifest_3
        return self.answer(path, Answer(body=build(self.url, scans)))

    def _create_app(self) -> Flask:
        app = Flask("library")

        @app.route("/", defaults={"path": ""}, methods=["GET", "POST"])
        @app.route("/<path:path>", methods=["GET", "POST"])
        def receive(path: str) -> Response:
            target = request.environ["RAW_URI"]
            with self._lock:
                self.asked.append(Asked(target, dict(request.headers)))
                answer = self._find_answer(target)
                if answer.status >= 400:
                    self.refused.append(target)
            return _send(answer, self._closing)

        return app

    def _find_answer(self, path: str) -> Answer:
        if path in self._answers:
            answers = self._answers[path]
            return answers.pop(0) if len(answers) > 1 else answers[0]
        for name, scan in self._scans.items():
            start = f"/iiif/{name}/"
            if path == f"{start}info.json":
                return Answer(body=scan.build_info(f"{self.url}/iiif/{name}")) if scan.info else Answer(404)
            if path.startswith(start) and path.count("/") == start.count("/") + 3:
                return scan.draw(path.removeprefix(start))
        return Answer(404, "there is no such thing")


def _send(answer: Answer, closing: threading.Event) -> Response:
    if answer.hang:
        closing.wait(300)
    if answer.raw is not None:
        connection = request.environ["werkzeug.socket"]
        with contextlib.suppress(OSError):  # the client may have disconnected
            for piece in _cut(answer.raw, answer, closing):
                connection.sendall(piece)
            connection.shutdown(socket.SHUT_RDWR)
    response = Response(_cut(answer.content, answer, closing), answer.status, answer.headers)
    if not (answer.trickle or answer.endless):
        response.headers.setdefault("Content-Length", str(len(answer.content) + answer.missing))
    return response


def _cut(body: bytes, answer: Answer, closing: threading.Event) -> Iterator[bytes]:
    """Yield a body as the response sends it: in one piece, byte by byte, or endlessly."""
    pieces = [body[number : number + 1] for number in range(len(body))] if answer.trickle else [body]
    endless = answer.endless or (answer.trickle and not body)
    while not closing.is_set():
        for piece in pieces or [b"."]:
            yield piece
            if answer.trickle and closing.wait(0.01):
                return
        if not endless:
            return
