import contextlib
import email.utils
import gzip
import io
import pickle
import socket
import struct
import threading
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from app.errors import AddressRefused, FetchError, NotAnImage
from app.iiif.fetch import Fetcher
from app.iiif.hosts import HostRule
from app.iiif.image_requests import ImageRequest
from app.net.addresses import LONGEST_URL, AddressGuard
from tests.conftest import serve_tls
from tests.support.fetching import POLICY, Clock, build_limits
from tests.support.library import Answer, Library, draw_image, redirect

MakeFetcher = Callable[..., Fetcher]
JPEG = draw_image(600, 800)
GZIP_HEADER = b"\x1f\x8b\x08\x04" + bytes(6) + b"\xff\xff" + bytes(65_535)  # decompresses to nothing before its end


def declare_png(width: int, height: int) -> bytes:
    """Return a PNG of a few bytes whose header declares a size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_a_document_is_returned_unchanged(library: Library, fetcher: Fetcher) -> None:
    url = library.answer("/manifest.json", Answer(body=b'{"a": 1}'))
    assert fetcher.fetch_document(url) == b'{"a": 1}'


def test_every_request_sends_the_user_agent_with_a_contact(library: Library, fetcher: Fetcher) -> None:
    """Gallica refuses the default of requests: https://github.com/DDMAL/cantus/issues/1007"""
    library.answer("/x", redirect("/y"))
    library.answer("/y", Answer(body="found"))
    fetcher.fetch_document(f"{library.url}/x")
    assert [asked.headers["User-Agent"] for asked in library.asked] == [POLICY.user_agent] * 2


def test_every_response_is_counted_with_its_received_bytes(library: Library) -> None:
    counted: list[tuple[str, int]] = []
    limits, guard = build_limits(HostRule(4, 0)), AddressGuard(frozenset({"127.0.0.1"}))
    fetcher = Fetcher(POLICY, limits, guard, lambda host, size: counted.append((host, size)))
    fetcher.fetch_document(library.answer("/x", Answer(body=b"x" * 1234)))
    with pytest.raises(FetchError):
        fetcher.fetch_document(library.answer("/y", Answer(410, body=b"gone")))
    packed = gzip.compress(b"x" * 10_000)
    fetcher.fetch_document(library.answer("/z", Answer(body=packed, headers={"Content-Encoding": "gzip"})))
    host = library.url.removeprefix("http://")
    assert counted == [(host, 1234), (host, 0), (host, len(packed))]


def test_proxy_settings_of_the_environment_are_ignored(
    library: Library, fetcher: Fetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert fetcher.fetch_document(library.answer("/x", Answer(body="found"))) == b"found"


@pytest.mark.parametrize(
    "path",
    ["/iiif/ms%2Fpage", "/iiif/a+b", "/iiif/a%252Fb", "/iiif/ark:/81055/vdc_1.0x1", "/iiif/%C3%A9", "/iiif/a%20b"],
)
def test_a_url_is_requested_unchanged(library: Library, fetcher: Fetcher, path: str) -> None:
    assert fetcher.fetch_document(library.answer(path, Answer(body="found"))) == b"found"
    assert library.paths == [path]


def test_a_url_with_non_ascii_letters_is_encoded_once(library: Library, fetcher: Fetcher) -> None:
    library.answer("/iiif/%C3%A9t%C3%A9%201", Answer(body="found"))
    assert fetcher.fetch_document(f"{library.url}/iiif/été 1") == b"found"


def test_compressed_responses_are_decompressed(library: Library, fetcher: Fetcher) -> None:
    packed = Answer(body=gzip.compress(b"found" * 1000), headers={"Content-Encoding": "gzip"})
    assert fetcher.fetch_document(library.answer("/x", packed)) == b"found" * 1000


# Refusals


@pytest.mark.parametrize("status", [400, 401, 403, 410, 418, 501])
def test_a_permanent_error_is_not_retried(library: Library, fetcher: Fetcher, status: int) -> None:
    url = library.answer("/x", Answer(status))
    with pytest.raises(FetchError, match=f"/x answered {status}") as caught:
        fetcher.fetch_document(url)
    assert caught.value.http_status == status
    assert len(library.asked) == 1


@pytest.mark.parametrize("status", [404, 406])
def test_a_document_for_browsers_only_is_requested_as_by_a_browser(
    library: Library, fetcher: Fetcher, status: int
) -> None:
    """A resolver that answers 404 to a client that prefers JSON: https://github.com/dpla/dpla-frontend/pull/1571"""
    url = library.answer("/ark/manifest", Answer(status), Answer(body=b"{}"))
    assert fetcher.fetch_document(url) == b"{}"
    assert library.asked[-1].headers["Accept"] == "*/*"
    url = library.answer("/nowhere", Answer(status))
    library.asked.clear()
    with pytest.raises(FetchError, match=f"/nowhere answered {status}"):
        fetcher.fetch_document(url)
    assert len(library.asked) == 2


def test_a_pickled_error_keeps_its_status(library: Library, fetcher: Fetcher) -> None:
    with pytest.raises(FetchError) as caught:
        fetcher.fetch_document(f"{library.url}/nowhere")
    assert pickle.loads(pickle.dumps(caught.value)).http_status == 404  # noqa: S301 (our own bytes)


@pytest.mark.parametrize("status", [204, 206, 304])
def test_any_other_status_than_200_is_an_error(library: Library, fetcher: Fetcher, status: int) -> None:
    with pytest.raises(FetchError, match=f"answered {status}"):
        fetcher.fetch_document(library.answer("/x", Answer(status)))


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 509])
def test_a_temporary_error_is_retried(library: Library, fetcher: Fetcher, status: int) -> None:
    url = library.answer("/x", Answer(status), Answer(body="found"))
    assert fetcher.fetch_document(url) == b"found"
    assert len(library.asked) == 2


@pytest.mark.parametrize("attempts", [1, 3])
def test_the_number_of_attempts_is_limited(library: Library, make_fetcher: MakeFetcher, attempts: int) -> None:
    url = library.answer("/x", Answer(503))
    with pytest.raises(FetchError, match=rf"answered 503 .*Tried {attempts} times") as caught:
        make_fetcher(attempts=attempts).fetch_document(url)
    assert caught.value.http_status == 503
    assert len(library.asked) == attempts


# Retry-After


def test_retry_after_in_seconds_is_respected(library: Library, fetcher: Fetcher, clock: Clock) -> None:
    fetcher.fetch_document(library.answer("/x", Answer(429, headers={"Retry-After": "7"}), Answer(body="found")))
    assert sum(clock.slept) == pytest.approx(7)


def test_retry_after_as_a_date_is_respected(library: Library, fetcher: Fetcher, clock: Clock) -> None:
    date = email.utils.formatdate(time.time() + 60, usegmt=True)
    fetcher.fetch_document(library.answer("/x", Answer(503, headers={"Retry-After": date}), Answer(body="found")))
    assert 30 < sum(clock.slept) <= 60


def test_retry_after_is_capped(library: Library, fetcher: Fetcher, clock: Clock) -> None:
    fetcher.fetch_document(library.answer("/x", Answer(429, headers={"Retry-After": "86400"}), Answer(body="found")))
    assert sum(clock.slept) == pytest.approx(POLICY.retry_after_limit)


def test_retry_after_pauses_all_requests_to_the_host(library: Library, clock: Clock) -> None:
    limits = build_limits(HostRule(4, 0), clock)
    guard = AddressGuard(frozenset({"127.0.0.1"}))
    first, second = Fetcher(POLICY, limits, guard), Fetcher(POLICY, limits, guard)
    first.fetch_document(library.answer("/x", Answer(429, headers={"Retry-After": "7"}), Answer(body="found")))
    began = clock.now
    second.fetch_document(library.answer("/y", Answer(body="found")))
    assert began == clock.now == pytest.approx(1007)


def test_the_total_time_includes_the_wait_for_a_slot(library: Library, make_fetcher: MakeFetcher, clock: Clock) -> None:
    url = library.answer("/x", Answer(429, headers={"Retry-After": "70"}), Answer(body="found"))
    with pytest.raises(FetchError, match="is busy: its request limits allow no request now"):
        make_fetcher(total=60).fetch_document(url)
    assert clock.slept == []
    with pytest.raises(FetchError, match=r"not be downloaded completely within 0\.[12] seconds"):
        make_fetcher(total=0.2, attempts=1).fetch_document(library.answer("/y", Answer(trickle=True)))


def test_an_invalid_retry_after_falls_back_to_the_backoff(library: Library, fetcher: Fetcher, clock: Clock) -> None:
    fetcher.fetch_document(library.answer("/x", Answer(429, headers={"Retry-After": "soon"}), Answer(body="found")))
    assert 0 < sum(clock.slept) <= POLICY.backoff


# Bodies


def test_a_truncated_body_is_retried(library: Library, fetcher: Fetcher) -> None:
    url = library.answer("/x", Answer(body="fou", missing=2), Answer(body="found"))
    assert fetcher.fetch_document(url) == b"found"


def test_a_body_that_is_always_truncated_is_an_error(library: Library, fetcher: Fetcher) -> None:
    url = library.answer("/x.jpg", Answer(body=JPEG[:-500], missing=500))
    with pytest.raises(FetchError, match="could not be fetched"):
        fetcher.fetch_image([ImageRequest(url)])
    assert len(library.asked) == POLICY.attempts


@pytest.mark.parametrize("answer", [Answer(body=b"x" * 200_001), Answer(body=b"x" * 1000, endless=True)])
def test_a_body_that_is_too_large_is_not_retried(library: Library, fetcher: Fetcher, answer: Answer) -> None:
    with pytest.raises(FetchError, match=r"larger than 0.2 MB"):
        fetcher.fetch_document(library.answer("/x", answer))
    assert len(library.asked) == 1


def test_a_decompression_bomb_is_refused(library: Library, fetcher: Fetcher) -> None:
    packed = Answer(body=gzip.compress(bytes(50 << 20)), headers={"Content-Encoding": "gzip"})
    with pytest.raises(FetchError, match="larger than"):
        fetcher.fetch_document(library.answer("/x", packed))


def test_a_body_with_a_false_content_encoding_is_an_error(library: Library, fetcher: Fetcher) -> None:
    url = library.answer("/x", Answer(body="plain", headers={"Content-Encoding": "gzip"}))
    with pytest.raises(FetchError, match="could not be fetched"):
        fetcher.fetch_document(url)


# Time


def test_a_server_that_hangs_runs_into_the_timeout(library: Library, make_fetcher: MakeFetcher) -> None:
    url = library.answer("/x", Answer(hang=True))
    with pytest.raises(FetchError, match=r"did not answer within 0.2 seconds. Tried 2 times"):
        make_fetcher(timeout=0.2, attempts=2).fetch_document(url)
    assert len(library.asked) == 2


@pytest.mark.parametrize(
    "answer",
    [
        Answer(trickle=True),
        Answer(body=GZIP_HEADER, trickle=True, headers={"Content-Encoding": "gzip"}),
        Answer(raw=b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 60_000, trickle=True),
    ],
    ids=["body", "packed body", "headers"],
)
def test_a_server_that_sends_byte_by_byte_runs_into_the_deadline(
    library: Library, make_fetcher: MakeFetcher, answer: Answer
) -> None:
    url = library.answer("/x", answer)
    with pytest.raises(FetchError, match=r"not be downloaded completely within 0.3 seconds"):
        make_fetcher(deadline=0.3, attempts=1).fetch_document(url)


def test_an_expired_deadline_does_not_affect_the_next_request(library: Library, make_fetcher: MakeFetcher) -> None:
    fetcher = make_fetcher(deadline=0.3, attempts=2)
    assert fetcher.fetch_document(library.answer("/x", Answer(trickle=True), Answer(body="found"))) == b"found"


# Redirects and addresses


def test_redirects_are_followed(library: Library, fetcher: Fetcher) -> None:
    library.answer("/a", redirect("/b", 301))
    library.answer("/b", redirect(f"{library.url}/c", 307))
    library.answer("/c", Answer(raw="HTTP/1.1 308 Moved\r\nLocation: d?x=é\r\n\r\n".encode()))
    library.answer("/d?x=%C3%A9", Answer(body="found"))
    assert fetcher.fetch_document(f"{library.url}/a") == b"found"


def test_the_number_of_redirects_is_limited(library: Library, fetcher: Fetcher) -> None:
    url = library.answer("/x", redirect("/x"))
    with pytest.raises(FetchError, match="redirects more than 3 times"):
        fetcher.fetch_document(url)
    assert len(library.asked) == 4


def test_the_body_of_a_redirect_is_not_read(library: Library, fetcher: Fetcher) -> None:
    library.answer("/x", Answer(302, body=b"x" * 1000, endless=True, headers={"Location": "/y"}))
    library.answer("/y", Answer(body="found"))
    assert fetcher.fetch_document(f"{library.url}/x") == b"found"


def test_a_private_address_is_refused(library: Library, make_fetcher: MakeFetcher) -> None:
    with pytest.raises(AddressRefused, match=r"private address 127.0.0.1"):
        make_fetcher(trusted=frozenset()).fetch_document(f"{library.url}/x")
    assert library.asked == []


def test_a_redirect_to_a_private_address_is_refused(library: Library, make_fetcher: MakeFetcher) -> None:
    host = library.url.removeprefix("http://")
    fetcher = make_fetcher(trusted=frozenset({host}))
    with Library().open() as inside:
        url = library.answer("/x", redirect(f"{inside.url}/secret"))
        with pytest.raises(AddressRefused):
            fetcher.fetch_document(url)
        assert inside.asked == []


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://library.example/x", "gopher://127.0.0.1/x", "data:,x"])
def test_only_http_urls_are_fetched_even_after_a_redirect(library: Library, fetcher: Fetcher, url: str) -> None:
    for address in (url, library.answer("/x", redirect(url))):
        with pytest.raises(FetchError, match="not a web address"):
            fetcher.fetch_document(address)


INVALID_URLS = ["", "x", "//x", "http://", "http:///x", "http://[", "http://[x]/", "http://h:99999/", "http://h:x/"]
INVALID_URLS += [
    "\ud800",
    "http://\ud800.example/",
    f"http://{'a' * 70}.example/",
    "http://a\nb/",
    "http://a.invalid/\ud800",
]


@pytest.mark.parametrize("url", INVALID_URLS)
def test_an_invalid_url_is_a_fetch_error(fetcher: Fetcher, url: str) -> None:
    with pytest.raises(FetchError):
        fetcher.fetch_document(url)


def test_a_redirect_to_an_invalid_url_is_a_fetch_error(library: Library, fetcher: Fetcher) -> None:
    with pytest.raises(FetchError, match="not a web address"):
        fetcher.fetch_document(library.answer("/x", Answer(raw=b"HTTP/1.1 302 Found\r\nLocation: http://[\r\n\r\n")))


def test_a_refused_connection_is_reported_with_the_url(fetcher: Fetcher) -> None:
    with pytest.raises(FetchError, match=r"http://127.0.0.1:1/x could not be fetched \(.*refused\). Tried 3 times"):
        fetcher.fetch_document("http://127.0.0.1:1/x")


def test_an_unknown_host_name_is_reported(fetcher: Fetcher) -> None:
    with pytest.raises(FetchError, match=r"could not be fetched \(.*'nowhere.invalid'"):
        fetcher.fetch_document("http://nowhere.invalid/x")


@pytest.mark.parametrize("raw", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 two hundred\r\n\r\n"])
def test_a_response_that_is_not_http_is_retried(library: Library, fetcher: Fetcher, raw: bytes) -> None:
    assert fetcher.fetch_document(library.answer("/x", Answer(raw=raw), Answer(body="found"))) == b"found"


def test_a_tls_handshake_that_never_ends_runs_into_the_timeout(make_fetcher: MakeFetcher) -> None:
    fetcher = make_fetcher(trusted=frozenset({"127.0.0.1"}), timeout=0.3, attempts=1)
    over = threading.Event()

    def trickle(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.sendall(b"\x16\x03\x03\x40\x00")  # header of a handshake record of 16 kB …
            while not over.wait(0.05):
                connection.sendall(b"\x02")  # … which arrives byte by byte

    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(2) as executor:
        executor.submit(lambda: trickle(server.accept()[0]))
        try:
            with pytest.raises(FetchError, match=r"did not answer within 0\.3 seconds"):
                fetcher.fetch_document(f"https://127.0.0.1:{server.getsockname()[1]}/x")
        finally:
            over.set()


def test_an_untrusted_certificate_is_refused(tls_url: str, make_fetcher: MakeFetcher) -> None:
    fetcher = make_fetcher(trusted=frozenset({"localhost"}))
    with pytest.raises(FetchError, match=r"https://localhost:\d+/x has no valid TLS certificate"):
        fetcher.fetch_document(tls_url.replace("library.example", "localhost"))


@pytest.mark.parametrize("is_over", [False, True])
def test_an_expired_certificate_is_refused_with_the_reason(
    certificate: Path, expired_certificate: Path, make_fetcher: MakeFetcher, is_over: bool
) -> None:
    fetcher, chosen = make_fetcher(trusted=frozenset({"localhost"})), expired_certificate if is_over else certificate
    with fetcher._session() as session:
        session.verify = str(chosen)  # the certificate is trusted: only its expiry can fail
    with serve_tls(chosen) as port:
        if is_over:
            with pytest.raises(FetchError, match=r"/x has no valid TLS certificate \(certificate has expired\)\."):
                fetcher.fetch_document(f"https://localhost:{port}/x")
        else:
            assert fetcher.fetch_document(f"https://localhost:{port}/x") == b"found"


def test_an_overlong_url_is_not_requested_and_quoted_in_part(library: Library, fetcher: Fetcher) -> None:
    longer = f"{library.url}/{'x' * LONGEST_URL}"
    for url in (longer, library.answer("/x", redirect(longer))):
        with pytest.raises(FetchError, match="a URL may have at most 4096 characters") as caught:
            fetcher.fetch_document(url)
        assert len(caught.value.message) < 200
    assert library.paths == ["/x"]


def test_threads_may_share_a_fetcher(library: Library) -> None:
    fetcher = Fetcher(POLICY, build_limits(HostRule(2, 0)), AddressGuard(frozenset({"127.0.0.1"})))
    urls = [library.answer(f"/{number}", Answer(body=str(number))) for number in range(12)]
    with ThreadPoolExecutor(6) as executor:
        assert list(executor.map(fetcher.fetch_document, urls)) == [str(number).encode() for number in range(12)]


# Images


def test_an_image_is_returned_with_its_size(library: Library, fetcher: Fetcher) -> None:
    file = fetcher.fetch_image([ImageRequest(library.answer("/x.jpg", Answer(body=JPEG)))])
    assert (file.data, file.size) == (JPEG, (600, 800))


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"<html>sign in</html>", "an HTML page instead of an image"),
        (b" \n<!DOCTYPE html>", "an HTML page instead of an image"),
        (b'{"error": 1}', "a JSON document instead of an image"),
        (b"GIF89a", "is a damaged image"),
        (b"", "unsupported format instead of an image"),
        (JPEG[:-500], "is a damaged image"),
        (JPEG[:700], "is a damaged image"),
        (declare_png(300, 400), "is a damaged image"),
        (declare_png(10_000, 10_000), "has 10000 x 10000 pixels; at most 50000000 pixels are accepted"),
        (declare_png(60_000, 60_000), "too many pixels; at most 50000000 are accepted"),
        (declare_png(2**31 - 1, 2**31 - 1), "too many pixels; at most 50000000 are accepted"),
        (declare_png(0, 400), "image"),
    ],
)
def test_an_invalid_image_is_refused_with_the_reason(
    library: Library, fetcher: Fetcher, body: bytes, reason: str
) -> None:
    url = library.answer("/x.jpg", Answer(body=body))
    with pytest.raises(NotAnImage, match=reason) as caught:
        fetcher.fetch_image([ImageRequest(url)])
    assert caught.value.message.startswith(url)
    assert len(library.asked) == 1


def test_an_image_of_too_many_bytes_is_refused(library: Library, make_fetcher: MakeFetcher) -> None:
    with pytest.raises(FetchError, match="larger than"):
        make_fetcher(max_image_bytes=1000).fetch_image([ImageRequest(library.answer("/x.jpg", Answer(body=JPEG)))])


def test_the_size_of_an_image_is_upright(library: Library, fetcher: Fetcher) -> None:
    image = Image.new("RGB", (30, 20))
    exif = image.getexif()
    exif[0x0112] = 6  # "rotate by a quarter": boxes are in the image as a browser shows it
    body = io.BytesIO()
    image.save(body, "JPEG", exif=exif)
    url = library.answer("/x.jpg", Answer(body=body.getvalue()))
    assert fetcher.fetch_image([ImageRequest(url)]).size == (20, 30)


def test_each_form_of_a_request_is_rate_limited_by_its_own_size(library: Library, clock: Clock) -> None:
    rule = HostRule(4, 1, image_size=1000, large_interval_seconds=15)
    fetcher = Fetcher(POLICY, build_limits(rule, clock), AddressGuard(frozenset({"127.0.0.1"})))
    forms = [ImageRequest(f"{library.url}/small.jpg", 1000), ImageRequest(f"{library.url}/full.jpg", 6000)]
    library.answer("/full.jpg", Answer(body=JPEG))
    for _ in range(2):
        fetcher.fetch_image(forms)
    assert sum(clock.slept) == 1 + 15


# A path as published, and as it must arrive.
PATHS = [
    ("/a b", "/a%20b"),
    ("/\N{LATIN SMALL LETTER E WITH ACUTE}", "/%C3%A9"),
    ("/a%2fb%C3%a9%7E", "/a%2fb%C3%a9%7E"),
    ("/100%/%20", "/100%25/%20"),
    ("/a[1]\\b?c[]=d|e", "/a%5B1%5D%5Cb?c%5B%5D=d%7Ce"),
    ("/a%2520b", "/a%2520b"),
    ("/a//b", "/a//b"),
]


@pytest.mark.parametrize(("published", "expected"), PATHS)
def test_a_published_url_is_requested_letter_by_letter(
    library: Library, fetcher: Fetcher, published: str, expected: str
) -> None:
    library.answer(expected, Answer(body=b"{}"))
    assert fetcher.fetch_document(f"{library.url}{published}") == b"{}"
    assert library.paths == [expected]


@pytest.mark.parametrize(("published", "expected"), PATHS)
def test_a_redirect_to_a_published_url_is_followed(
    library: Library, fetcher: Fetcher, published: str, expected: str
) -> None:
    library.answer(expected, Answer(body=b"{}"))
    for encoding in ("utf-8", "latin-1"):
        target = library.url.encode() + published.encode(encoding)
        url = library.answer("/x", Answer(raw=b"HTTP/1.1 302 Found\r\nLocation: " + target + b"\r\n\r\n"))
        library.answer("/%E9", Answer(body=b"{}"))
        assert fetcher.fetch_document(url) == b"{}"
