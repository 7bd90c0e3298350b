"""Sessions of the pages for people: sign in, sign out, expiry, forged forms, and headers."""

import re
from datetime import timedelta

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app.auth import add_app, renew_app, revoke_app
from app.server import sessions
from app.services import Services
from tests.integration.web.conftest import Browser

COOKIE = "extractor_session"


def test_a_page_leads_to_the_sign_in_form_and_back(stranger: Browser, headers: dict[str, str]) -> None:
    answer = stranger.get("/ui/jobs?state=done")
    assert (answer.status_code, answer.location) == (302, "/ui/sign-in?next=/ui/jobs?state%3Ddone")
    answer = stranger.sign_in(headers["X-API-Key"], "/ui/jobs?state=done")
    assert (answer.status_code, answer.location) == (302, "/ui/jobs?state=done")
    assert "Signed in as front" in stranger.get(answer.location).text


@pytest.mark.parametrize(
    "target",
    [
        *("https://evil.example/", "//evil.example", "/ui/\\evil.example", "/jobs", "ui/jobs"),
        *("/ui/\r\nSet-Cookie: a=b", "/ui/\n", "/ui/\x00", "/ui/" + "a" * 5000),
    ],
)
def test_signing_in_leads_to_no_other_site(stranger: Browser, headers: dict[str, str], target: str) -> None:
    answer = stranger.sign_in(headers["X-API-Key"], target)
    assert answer.location == "/ui/jobs"


@pytest.mark.parametrize(("key", "status"), [("", 400), ("wrong", 403), ("é\x00", 403)])
def test_a_wrong_key_is_explained_on_the_form(stranger: Browser, key: str, status: int) -> None:
    answer = stranger.sign_in(key)
    assert answer.status_code == status
    assert 'role="alert"' in answer.text
    assert stranger.get("/ui/jobs").status_code == 302


def test_the_cookie_is_protected_and_never_sent_to_the_api(stranger: Browser, headers: dict[str, str]) -> None:
    cookie = stranger.sign_in(headers["X-API-Key"]).headers["Set-Cookie"]
    assert {"HttpOnly", "Path=/ui", "SameSite=Lax"} <= {part.strip() for part in cookie.split(";")}
    assert headers["X-API-Key"] not in cookie
    assert stranger.get("/jobs").status_code == 400


def test_the_cookie_needs_https_where_the_page_has_it(stranger: Browser, headers: dict[str, str]) -> None:
    answer = stranger.sign_in(headers["X-API-Key"], base_url="https://api.example")
    assert "Secure" in answer.headers["Set-Cookie"]


def test_signing_out_ends_the_session(browser: Browser) -> None:
    assert browser.post("/ui/sign-out").location == "/ui/sign-in"
    assert browser.get("/ui/jobs").status_code == 302


def test_a_session_ends_when_its_key_is_renewed_or_revoked(app: Flask, services: Services) -> None:
    for change in (renew_app, revoke_app):
        browser = Browser(app.test_client())
        browser.sign_in(add_app(services.database, f"app {change.__name__}"))
        assert browser.get("/ui/jobs").status_code == 200
        change(services.database, f"app {change.__name__}")
        assert browser.get("/ui/jobs").status_code == 302


def test_a_session_expires(app: Flask, headers: dict[str, str]) -> None:
    app.config["PERMANENT_SESSION_LIFETIME"] = timedelta(seconds=-1)
    browser = Browser(app.test_client())
    browser.sign_in(headers["X-API-Key"])
    assert browser.get("/ui/jobs").status_code == 302


def test_a_forged_cookie_does_not_sign_in(stranger: Browser) -> None:
    stranger.client.set_cookie(COOKIE, "eyJhcHAiOjF9.aaaa.bbbb", path="/ui")
    assert stranger.get("/ui/jobs").status_code == 302


@pytest.mark.parametrize(
    ("sender", "target"),
    [
        ("http://localhost/ui/jobs/a?status=failed", "/ui/jobs/a?status=failed"),
        ("https://evil.example/x", "/ui/jobs"),
        ("http://[", "/ui/jobs"),
        ("", "/ui/jobs"),
    ],
)
def test_a_form_after_the_session_leads_back_with_a_reason(
    stranger: Browser, headers: dict[str, str], sender: str, target: str
) -> None:
    answer = stranger.client.post("/ui/jobs", headers={"Referer": sender}, data={"manifest_url": "x"})
    form = stranger.get(answer.location).text
    assert "Your session had ended, so the form was not sent." in form
    named = re.search('name="next" value="([^"]*)"', form)
    assert named
    assert stranger.sign_in(headers["X-API-Key"], named[1]).location == target


def test_the_body_of_a_form_after_the_session_is_not_read(stranger: Browser) -> None:
    stranger.client.application.config["MAX_CONTENT_LENGTH"] = 100
    assert stranger.client.post("/ui/jobs", data={"filler": "x" * 200}).status_code == 302


@pytest.mark.parametrize("token", ["", "wrong", "é"])
def test_a_form_without_the_token_of_the_session_is_refused(browser: Browser, waiting: str, token: str) -> None:
    answer = browser.client.post(f"/ui/jobs/{waiting}/cancel", data={"csrf": token}, follow_redirects=True)
    assert "belongs to another session" in answer.text
    assert "queued" in browser.get(f"/ui/jobs/{waiting}").text


@pytest.mark.parametrize("token", ["", "wrong"])
def test_another_site_cannot_sign_a_person_in(stranger: Browser, headers: dict[str, str], token: str) -> None:
    stranger.get("/ui/sign-in")
    answer = stranger.client.post("/ui/sign-in", data={"key": headers["X-API-Key"], "csrf": token})
    assert (answer.status_code, "load the page again" in answer.text) == (403, True)
    assert stranger.get("/ui/jobs").status_code == 302


def test_signing_in_replaces_the_token_of_the_form(stranger: Browser, headers: dict[str, str]) -> None:
    token = stranger.find_token("/ui/sign-in")
    stranger.sign_in(headers["X-API-Key"])
    assert stranger.find_token("/ui/jobs") not in ("", token)


@pytest.mark.parametrize("back", ["//evil.example", "/ui/\r\nSet-Cookie: a=b"])
def test_a_form_leads_back_to_no_other_site(browser: Browser, waiting: str, back: str) -> None:
    answer = browser.post(f"/ui/jobs/{waiting}/cancel", back=back)
    assert answer.location == "/ui/jobs"


def test_every_page_has_a_strict_policy(browser: Browser, stranger: Browser) -> None:
    for answer in (browser.get("/ui/jobs"), browser.get("/ui/nothing"), stranger.get("/ui/sign-in")):
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self';" in policy
        assert "unsafe" not in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "no-store"


def test_static_files_are_kept_and_need_no_session(stranger: Browser) -> None:
    with stranger.get("/ui/static/style.css") as answer:
        assert (answer.status_code, answer.cache_control.max_age) == (200, 365 * 86_400)


def test_every_page_needs_a_session(app: Flask, stranger: Browser) -> None:
    pages = [rule for rule in app.url_map.iter_rules() if rule.endpoint.startswith("pages.")]
    assert len(pages) > 20
    for rule in pages:
        path = re.sub("<int:[a-z]+>", "1", rule.rule)
        path = re.sub("<[a-z_:]+>", "x", path)
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
            answer = stranger.client.open(path, method=method)
            assert (answer.status_code, answer.location.partition("?")[0]) == (302, "/ui/sign-in"), path


def test_a_key_in_the_header_does_not_open_pages(client: FlaskClient, headers: dict[str, str]) -> None:
    assert client.get("/ui/jobs", headers=headers).status_code == 302


def test_a_session_lasts_twelve_hours() -> None:
    assert timedelta(hours=12) == sessions.LIFETIME
