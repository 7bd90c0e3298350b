"""The README and .env.template say all there is, and nothing that is not."""

import re

import pytest
from flask import Flask

from app.config import ROOT, Settings

README = (ROOT / "README.md").read_text()
TEMPLATE = (ROOT / ".env.template").read_text()


@pytest.mark.parametrize("name", [name.upper() for name in Settings.model_fields])
def test_every_setting_is_documented(name: str) -> None:
    assert re.search(rf"^#?{name}=", TEMPLATE, re.MULTILINE)
    assert f"`{name}`" in README


def test_the_template_names_no_setting_that_is_not_there() -> None:
    names = set(re.findall(r"^#?([A-Z_]+)=", TEMPLATE, re.MULTILINE))
    assert names == {name.upper() for name in Settings.model_fields}


def test_the_template_shows_the_defaults() -> None:
    shown = dict(re.findall(r'^#([A-Z_]+)="?([^"#\n]*?)"?$', TEMPLATE, re.MULTILINE))
    defaults = {name.upper(): field.default for name, field in Settings.model_fields.items()}
    for name, value in shown.items():
        default = defaults[name]
        text = "" if default in ((), None) else str(default).removeprefix(f"{ROOT}/")
        assert value == text, name


def test_the_template_can_be_read_as_it_is() -> None:
    assert Settings(_env_file=ROOT / ".env.template").api_port == 5000  # type: ignore[call-arg]


def test_every_route_is_documented(app: Flask) -> None:
    for rule in app.url_map.iter_rules():
        if rule.endpoint != "static":
            (method,) = (rule.methods or set()) - {"HEAD", "OPTIONS"}
            path = rule.rule.replace("<job_id>", "<id>").replace("<pair>", "<a>-<b>").replace("<path:path>", "<path>")
            assert f"`{method} {path}`" in README, rule.rule


@pytest.mark.parametrize("command", ["bash run.sh", "bash run.sh demo", "bash run.sh test", "bash run.sh setup"])
def test_the_commands_are_documented(command: str) -> None:
    assert command in README


@pytest.mark.parametrize("page", ["README.md", "CHANGELOG.md", "models/illustrations.md"])
def test_what_a_page_links_to_is_there(page: str) -> None:
    for link in re.findall(r"\]\((?!https?:)([^)#]+)", (ROOT / page).read_text()):
        assert (ROOT / page).parent.joinpath(link).exists(), link
