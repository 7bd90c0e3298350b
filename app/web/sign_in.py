"""Sign in with the API key of a client app, and sign out."""

from flask import flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from app.errors import RequestError
from app.server import sessions
from app.web.rendering import find_own, load_texts, open_pages, pages


@open_pages.get("")
def show_start() -> ResponseReturnValue:
    """Lead from ``/ui`` to the jobs."""
    return redirect(url_for("pages.list_jobs"))


@open_pages.get("/sign-in")
def sign_in() -> ResponseReturnValue:
    """Show the form that asks for a key."""
    sessions.add_token()
    return render_template("sign_in.html", target=request.args.get("next", ""))


@open_pages.post("/sign-in")
def begin_session() -> ResponseReturnValue:
    """Begin a session, and lead to the page that was asked for."""
    target = request.form.get("next", "")
    try:
        sessions.check_token(request.form.get("csrf", ""))
        sessions.sign_in(request.form.get("key", "").strip())
    except RequestError as error:
        sessions.add_token()
        return render_template("sign_in.html", target=target, error=error.message), error.status
    return redirect(find_own(target))


@pages.post("/sign-out")
def end_session() -> ResponseReturnValue:
    sessions.sign_out()
    flash(load_texts()["sign_in"]["signed_out"], "done")
    return redirect(url_for("open_pages.sign_in"))
