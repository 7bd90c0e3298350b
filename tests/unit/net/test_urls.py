"""URLs as people publish them, and as they are requested."""

import pytest

from app.net.addresses import AddressGuard, read_host
from app.net.urls import make_requestable, resolve_location

UNCHANGED = [
    "https://a.example/iiif/a%2Fb",
    "https://a.example/iiif/a%2fb%c3%a9",
    "https://a.example/iiif/a%252Fb",
    "https://a.example/iiif/%7Ea%2Db%41",
    "https://a.example/ark:/12148/btv1b8,c;d=e(f)!g*h'i+j~k&l@m$n",
    "https://a.example//iiif//x/",
    "https://a.example/x?y=1&z=a/b?c%20d",
    "https://a.example:8443/.hidden/..a/b..",
    "http://[::1]:8080/x",
    "http://my_host.lan/x",
    "http://a.example",
    "http://a.example?x",
]


@pytest.mark.parametrize("url", UNCHANGED)
def test_a_valid_url_is_requested_unchanged(url: str) -> None:
    assert make_requestable(url) == url


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("  https://a.example/x \n", "https://a.example/x"),
        ("https://a.example/page 1.jpg", "https://a.example/page%201.jpg"),
        ("https://a.example/é/日本", "https://a.example/%C3%A9/%E6%97%A5%E6%9C%AC"),
        ("https://a.example/e\u0301", "https://a.example/e%CC%81"),
        ("https://a.example/\u00a0\u2028\u200b", "https://a.example/%C2%A0%E2%80%A8%E2%80%8B"),
        ("https://a.example/f[1]?g[]=ü", "https://a.example/f%5B1%5D?g%5B%5D=%C3%BC"),
        ('https://a.example/"<a>|b^c`{d}\\e', "https://a.example/%22%3Ca%3E%7Cb%5Ec%60%7Bd%7D%5Ce"),
        ("https://a.example/100%", "https://a.example/100%25"),
        ("https://a.example/5% off/%C3%A9/%zz/%2", "https://a.example/5%25%20off/%C3%A9/%25zz/%252"),
        ("https://a.example/a b%20c%2520d", "https://a.example/a%20b%20c%2520d"),
        ("https://a.example/x#xywh=1,2,3,4", "https://a.example/x"),
        ("https://a.example/a/./b/../c", "https://a.example/a/c"),
        ("https://a.example/../../x/..", "https://a.example/"),
        ("HTTPS://A.Example/X", "https://a.example/X"),
        ("https://Bücher.example/x", "https://xn--bcher-kva.example/x"),
        ("https://B%C3%BCcher.example/x", "https://xn--bcher-kva.example/x"),
        ("https://BU\u0308CHER.example:8080/x", "https://xn--bcher-kva.example:8080/x"),
        ("https://例え。テスト/x", "https://xn--r8jz45g.xn--zckzah/x"),
        ("https://xn--bcher-kva.example/x", "https://xn--bcher-kva.example/x"),
        ("https://\N{SNOWMAN}.example/x", "https://xn--n3h.example/x"),
    ],
)
def test_a_published_url_is_encoded_once(url: str, expected: str) -> None:
    assert make_requestable(url) == expected
    assert make_requestable(expected) == expected
    assert read_host(url) == read_host(expected)


NOT_WEB_ADDRESSES = [
    "",
    "x",
    "//a.example/x",
    "/x",
    "ftp://a.example/x",
    "file:///etc/passwd",
    "https:a.example/x",
    "https://",
    "https:///x",
    "https://a b.example/x",
    "https://a.example:x/",
    "https://a.example:0/",
    "https://a.example:65536/",
    "https://[::1/x",
    "https://[x]/",
    "https://./",
    "https://../x",
    "https://a.example/a\nb",
    "https://a.example/a\x00b",
    "https://a.example/\ud800",
    "https://\ud800.example/",
    "https://evil.example\\@a.example/x",
    "https://a%2Fb.example/x",
    "https://a%20b.example/x",
    "https://a<b>.example/x",
    f"https://{'a' * 64}.example/x",
    f"https://{'é' * 64}.example/x",
    "https://" + "a." * 200 + "example/x",
]


@pytest.mark.parametrize("url", NOT_WEB_ADDRESSES)
def test_other_text_is_not_a_web_address(url: str) -> None:
    with pytest.raises(ValueError, match="not a web address"):
        make_requestable(url)


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("https://b.example/x", "https://b.example/x"),
        ("//b.example/x", "http://b.example/x"),
        ("/x y", "http://a.example/x%20y"),
        ("../x", "http://a.example/x"),
        ("?q=[1]", "http://a.example/iiif/1?q=%5B1%5D"),
        ("", "http://a.example/iiif/1"),
        ("/caf\xc3\xa9", "http://a.example/caf%C3%A9"),
        ("/caf\xe9", "http://a.example/caf%E9"),
        ("/a%2fb%", "http://a.example/a%2fb%25"),
        ("https://b\xc3\xbccher.example/x", "https://xn--bcher-kva.example/x"),
    ],
)
def test_a_redirect_goes_to_the_bytes_that_the_server_sent(location: str, expected: str) -> None:
    """https://github.com/psf/requests/issues/3888"""
    assert resolve_location("http://a.example/iiif/1", location) == expected


@pytest.mark.parametrize("location", ["http://[", "ftp://b.example/x", "javascript:alert(1)", "https://b c/x"])
def test_a_redirect_to_something_else_is_refused(location: str) -> None:
    with pytest.raises(ValueError, match="not a web address"):
        resolve_location("http://a.example/iiif/1", location)


@pytest.mark.parametrize("entry", ["Bücher.lan", "bücher.lan:8080", "xn--bcher-kva.lan"])
def test_an_international_name_can_be_trusted(entry: str) -> None:
    guard = AddressGuard(frozenset({entry}))
    assert guard.trusts(read_host("http://bücher.lan:8080/x"))
    assert not guard.trusts(read_host("http://bücher.example:8080/x"))
