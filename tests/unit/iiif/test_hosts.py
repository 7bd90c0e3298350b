from pathlib import Path

import pytest

from app.config import ROOT
from app.errors import SettingsError
from app.iiif.hosts import HostRule, HostRules
from app.net.addresses import AddressGuard, read_host

DEFAULT = HostRule(connections=4, interval_seconds=0.1)
RULE = """
[[host]]
names = ["Images.example.org", ".library.example"]
connections = 2
interval_seconds = 1.5
image_size = 1000
large_interval_seconds = 15
reason = "They ask for it."
source = "https://example.org/terms"
"""


@pytest.fixture
def rules(tmp_path: Path) -> HostRules:
    path = tmp_path / "hosts.toml"
    path.write_text(RULE)
    return HostRules.load(path, DEFAULT)


@pytest.mark.parametrize(
    "host",
    ["images.example.org", "images.example.org:8182", "library.example", "www.library.example", "a.b.library.example"],
)
def test_a_known_host_has_its_rule(rules: HostRules, host: str) -> None:
    assert rules.find(host) == HostRule(2, 1.5, 1000, 15)


@pytest.mark.parametrize("host", ["example.org", "www.images.example.org", "otherlibrary.example", "127.0.0.1:80", ""])
def test_any_other_host_has_the_settings(rules: HostRules, host: str) -> None:
    assert rules.find(host) == DEFAULT


def test_a_rule_is_never_less_strict_than_the_settings(rules: HostRules, tmp_path: Path) -> None:
    strict = HostRule(connections=1, interval_seconds=5)
    rule = HostRules.load(tmp_path / "hosts.toml", strict).find("images.example.org")
    assert (rule.connections, rule.interval_seconds) == (1, 5)


@pytest.mark.parametrize(
    ("rule", "longest", "large"),
    [(HostRule(), None, False), (HostRule(image_size=1000), None, True), (HostRule(image_size=1000), 1000, False)],
)
def test_an_image_is_large_beyond_the_size_of_the_rule(rule: HostRule, longest: int | None, large: bool) -> None:
    assert rule.is_large(longest) is large


@pytest.mark.parametrize(
    "text",
    [
        "[[host]",
        "host = 3",
        '[[host]]\nnames = ["a"]\nsource = "x"',
        RULE.replace("2", '"many"', 1),
        RULE + "names = 3",
    ],
)
def test_an_invalid_file_is_a_settings_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "hosts.toml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=r"hosts\.toml has an invalid rule"):
        HostRules.load(path, DEFAULT)


def test_a_missing_file_is_a_settings_error(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        HostRules.load(tmp_path / "hosts.toml", DEFAULT)


@pytest.mark.parametrize("host", ["gallica.bnf.fr", "openapi.bnf.fr"])
def test_the_file_of_the_project_knows_gallica(host: str) -> None:
    rule = HostRules.load(ROOT / "iiif" / "hosts.toml", DEFAULT).find(host)
    assert rule.image_size == 1000
    assert rule.large_interval_seconds >= 12


@pytest.mark.parametrize(
    "host", ["IMAGES.example.org", "images.example.org.", "user@images.example.org", "images.example.org.:443"]
)
def test_a_known_host_is_found_in_every_spelling(rules: HostRules, host: str) -> None:
    assert rules.find(host).interval_seconds == 1.5


def test_a_rule_may_name_an_internationalized_host() -> None:
    rule = HostRule(1)
    rules = HostRules(DEFAULT, {"Bücher.example": rule, ".Été.example": rule, "[::1]": rule})
    for host in ("xn--bcher-kva.example", "bücher.example:8182", "www.xn--t-9fab.example", "[::1]:8182", "[::1]"):
        assert rules.find(host) is rule, host


@pytest.mark.parametrize("host", [".", "[", "a:b:c", "::1", "\ud800", "é" * 300, "/", "a\nb"])
def test_an_invalid_host_has_the_settings(rules: HostRules, host: str) -> None:
    assert rules.find(host) == DEFAULT


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://Gallica.BnF.fr/ark:/1", "gallica.bnf.fr"),
        ("https://gallica.bnf.fr./ark:/1", "gallica.bnf.fr"),
        ("https://gallica.bnf.fr:443/ark:/1", "gallica.bnf.fr"),
        ("http://gallica.bnf.fr.:80", "gallica.bnf.fr"),
        ("http://gallica.bnf.fr:443/x", "gallica.bnf.fr:443"),
        ("https://user:secret@gallica.bnf.fr/x", "gallica.bnf.fr"),
        ("https://Bücher.example。/x", "xn--bcher-kva.example"),
        ("https://XN--BCHER-KVA.example/x", "xn--bcher-kva.example"),
        ("http://127.0.0.1:8182/x", "127.0.0.1:8182"),
        ("http://[::1]:80/x", "[::1]"),
        ("http://[2001:DB8::1]:8182/x", "[2001:db8::1]:8182"),
        ("http://a:b:c/x", ""),
        ("http://[", ""),
        ("http://\ud800/", "\ud800"),
        (f"http://{'a.' * 126}a/", f"{'a.' * 126}a"),
        (f"http://{'a.' * 127}a/", ""),
        ("nothing", ""),
    ],
)
def test_a_host_has_one_normalized_spelling(url: str, host: str) -> None:
    assert read_host(url) == host


@pytest.mark.parametrize("host", ["scans.example", "scans.example:8182", "10.1.2.3:80", "127.0.0.1:8182"])
def test_a_trusted_host_has_no_interval(host: str) -> None:
    guard = AddressGuard(frozenset({"scans.example", "10.1.0.0/16", "127.0.0.1:8182"}))
    assert HostRules(DEFAULT, is_trusted=guard.trusts).find(host) == HostRule(connections=8, interval_seconds=0)


@pytest.mark.parametrize("host", ["example", "www.scans.example", "10.2.0.1", "127.0.0.1:80", "[::1]:8182", ""])
def test_trust_in_one_host_leaves_the_interval_of_others(host: str) -> None:
    guard = AddressGuard(frozenset({"scans.example", "10.1.0.0/16", "127.0.0.1:8182"}))
    assert HostRules(DEFAULT, is_trusted=guard.trusts).find(host) == DEFAULT


def test_a_known_rule_holds_also_for_a_trusted_host(rules: HostRules, tmp_path: Path) -> None:
    trusting = HostRules.load(tmp_path / "hosts.toml", DEFAULT, lambda host: True)
    assert trusting.find("images.example.org").interval_seconds == 1.5
