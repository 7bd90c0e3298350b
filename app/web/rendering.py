"""Templates, texts, error pages, and the headers of every page."""

import hashlib
import io
import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from flask import Blueprint, Response, flash, g, redirect, render_template, request, send_file, session, url_for
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import RequestEntityTooLarge

from app.errors import ExtractorError, NotFound, TooLarge, Unauthenticated
from app.exports.document import clean_name
from app.jobs.description import format_moment
from app.routes import answer_too_large
from app.server.authentication import OPEN_PAGES, PAGES
from app.server.sessions import ROOT_PATH, check_token

FOLDER = Path(__file__).parent
# Pages that need a session, and those that do not.
pages = Blueprint(PAGES, __name__, url_prefix=ROOT_PATH, template_folder="templates")
open_pages = Blueprint(OPEN_PAGES, __name__, url_prefix=ROOT_PATH, static_folder="static", static_url_path="/static")

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'{styles}; "
    "img-src 'self'{hosts}; connect-src 'self'{hosts}; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_STATIC_SECONDS = 365 * 86_400
# Longest path in a redirect. The server accepts addresses of 4000 characters.
LONGEST_PATH = 3000


@cache
def load_texts() -> Mapping[str, Any]:
    """Return the texts of the pages, by page and name."""
    return tomllib.loads((FOLDER / "texts" / "en.toml").read_text())


@pages.app_template_filter("moment")
def _format_moment(seconds: float) -> str:
    return format_moment(seconds, "seconds")


@pages.app_template_filter("when")
def _format_when(moment: float | str) -> str:
    """Return a time in UTC for people, from seconds since the epoch or from RFC 3339."""
    text = moment if isinstance(moment, str) else format_moment(moment, "minutes")
    return text.replace("T", " ").replace("Z", " UTC")


@pages.app_template_filter("duration")
def _format_duration(seconds: float) -> str:
    """Return a duration for people, such as ``1 h 30 min``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


@pages.app_template_filter("amount")
def format_amount(number: float, noun: Sequence[str]) -> str:
    """Return a number with its noun, which is given in singular and plural."""
    return f"{number:.15g} {noun[number != 1]}"


@pages.app_template_test("web_address")
def _is_web_address(text: str | None) -> bool:
    """Return whether a link may lead to a text. The address of a page of an uploaded file is none."""
    return bool(text) and str(text).lower().startswith(("http://", "https://"))


@pages.context_processor
@open_pages.context_processor
def _add_texts() -> dict[str, Any]:
    return {"texts": load_texts(), "client": g.client, "csrf": session.get("csrf", ""), "asset": _build_asset_url}


def _build_asset_url(name: str) -> str:
    """Return the URL of a static file. It changes with the file, so that browsers may keep the file."""
    return url_for(f"{OPEN_PAGES}.static", filename=name, v=_hash_asset(name))


@cache
def _hash_asset(name: str) -> str:
    return hashlib.sha256((FOLDER / "static" / name).read_bytes()).hexdigest()[:12]


@pages.before_request
def _check_form() -> None:
    """Reject a form without the token of the session. The view of the sign-in form does this itself.

    A form with a file has its token in the query, so that the view receives the body within its own limits.
    """
    if request.method == "POST":
        check_token(_read_field("csrf"))


def _read_field(name: str) -> str:
    """Return a field of the query, or of the form if the query does not have it."""
    return request.args[name] if name in request.args else request.form.get(name, "")


@pages.after_request
@open_pages.after_request
def _add_headers(response: Response) -> Response:
    """Add the headers of every page.

    A page with a viewer sets ``g.image_hosts``, the servers whose images it may show, and ``g.styles``, hashes of style
    elements.
    """
    hosts, styles = ("".join(f" {each}" for each in g.get(name, ())) for name in ("image_hosts", "styles"))
    response.headers["Content-Security-Policy"] = _POLICY.format(hosts=hosts, styles=styles)
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "same-origin"
    if request.endpoint == f"{OPEN_PAGES}.static":
        response.cache_control.public, response.cache_control.max_age = True, _STATIC_SECONDS
    elif response.mimetype == "text/html":
        response.cache_control.no_store = True
    return response


@pages.errorhandler(Unauthenticated)
def _ask_to_sign_in(_: Unauthenticated) -> ResponseReturnValue:
    """Lead to the form that asks for a key, and then back to the page, or to the page that sent a form."""
    target = request.full_path.removesuffix("?")
    if request.method == "POST":
        flash(load_texts()["sign_in"]["not_sent"], "error")
        target = _find_sender()
    return redirect(url_for("open_pages.sign_in", next=target if 0 < len(target) <= LONGEST_PATH else None))


def _find_sender() -> str:
    """Return the path of the page that sent the current request, or "".

    The field ``back`` is in the body, which is not read before a person has signed in.
    """
    try:
        page = urlsplit(request.referrer or "")
    except ValueError:
        return ""
    return page._replace(scheme="", netloc="", path=page.path.removeprefix(request.script_root)).geturl()


@pages.errorhandler(ExtractorError)
@open_pages.errorhandler(ExtractorError)
def _show_error(error: ExtractorError) -> ResponseReturnValue:
    """Show an error as a page. A form shows it above its fields, where the person was."""
    if request.method == "POST" and g.client and not isinstance(error, NotFound):
        flash(error.message, "error")
        return redirect(find_previous())
    return render_template("error.html", error=error), error.status, dict(error.headers)


@pages.errorhandler(RequestEntityTooLarge)
@open_pages.errorhandler(RequestEntityTooLarge)
def _show_too_large(error: RequestEntityTooLarge) -> ResponseReturnValue:
    answer: Any = answer_too_large(error)
    return render_template("error.html", error=TooLarge(answer[0].get_json()["message"])), TooLarge.status


def send_as(response: Response, name: str) -> Response:
    """Return an answer of the API as a download with a file name, which may have any characters."""
    content = io.BytesIO(response.get_data())
    return send_file(content, response.mimetype, as_attachment=True, download_name=clean_name(name))


def read_offset() -> int:
    """Return the field ``offset`` of the query, or of a form that leads to another page; 0 if it is not a number."""
    text = request.values.get("offset", "0")
    return int(text[:9]) if text.isascii() and text.isdigit() else 0


def find_previous() -> str:
    """Return the path of the page that sent a form, from its field ``back``."""
    return find_own(_read_field("back"))


def find_own(path: str) -> str:
    """Return a path to lead to if it is one of these pages, else that of the jobs. A full URL could be another site."""
    is_own = path.startswith(f"{ROOT_PATH}/") and path.isprintable() and "\\" not in path
    return f"{request.script_root}{path}" if is_own and len(path) <= LONGEST_PATH else url_for("pages.list_jobs")


@pages.get("/<path:path>")
def _find_nothing(path: str) -> ResponseReturnValue:
    raise NotFound(f"There is no page {path[:80]!r}.")
