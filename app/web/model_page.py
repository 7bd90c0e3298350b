"""The detection weights: their cards, and the choice of the default."""

from typing import Any

from flask import flash, redirect, render_template, url_for
from flask.typing import ResponseReturnValue
from markdown_it import MarkdownIt
from markupsafe import Markup, escape

from app.routes import models
from app.services import current_services
from app.web.rendering import pages


@pages.get("/models")
def list_weights() -> ResponseReturnValue:
    """Show all weights, the default first."""
    shown: list[Any] = [models.show(name).get_json() for name in current_services.models.list_weights()]
    return render_template("models.html", models=sorted(shown, key=lambda each: not each["default"]))


@pages.get("/models/<name>")
def show_weights(name: str) -> ResponseReturnValue:
    """Show weights with their card."""
    found: Any = models.show(name).get_json()
    # HTML in a card is shown as text. Its relative links and pictures lead nowhere on these pages: the words stay.
    markdown = MarkdownIt("js-default", {"html": False})
    markdown.add_render_rule("image", lambda _, tokens, place, *__: str(escape(tokens[place].content)))
    card = Markup(markdown.render(found["card"] or ""))  # noqa: S704
    return render_template("model.html", model=found, card=card)


@pages.post("/models/<name>/default")
def choose_default(name: str) -> ResponseReturnValue:
    """Make weights the default, as ``POST /models/<name>/default`` does."""
    answer: Any = models.set_default(name)
    flash(answer.get_json()["message"], "done")
    return redirect(url_for("pages.list_weights"))
