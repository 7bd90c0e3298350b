"""The manual names every setting and metric, and nothing that does not exist. Its links lead somewhere."""

import re
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families

from app.config import ROOT, Settings
from app.monitoring.counters import ANSWERS, BYTES, GPU_MEMORY
from app.services import Services
from tests.service.test_manual import TWO_COMMANDS
from tests.support.manual import PAGES, find_block, list_anchors, list_blocks, list_links, list_rows, read_page

TEMPLATE = read_page(".env.template")
README_LINES = 150
# Written in two parts: a search for the address must not find this file.
ORIGINAL = "github.com/" + "jnorindr"


def list_defaults() -> dict[str, str]:
    """Return the default of each setting as the manual writes it; "" for an empty one."""

    def show(default: Any) -> str:
        return "" if default in ((), None) else str(default).removeprefix(f"{ROOT}/")

    return {name.upper(): show(field.default) for name, field in Settings.model_fields.items()}


def test_the_settings_page_names_every_setting_with_its_default() -> None:
    rows = [row for row in list_rows(read_page("docs/settings.md")) if re.fullmatch(r"`[A-Z_]+`", row[0])]
    documented = {row[0].strip("`"): row[1].strip("`–") for row in rows}
    assert documented == list_defaults()
    assert len(rows) == len(documented), "a setting is described twice"
    assert all(row[2] for row in rows)


def test_the_template_names_every_setting_and_no_other() -> None:
    names = re.findall(r"^#?([A-Z_]+)=", TEMPLATE, re.MULTILINE)
    assert sorted(names) == sorted(list_defaults())


def test_the_template_shows_the_defaults() -> None:
    shown = dict(re.findall(r'^#([A-Z_]+)="?([^"#\n]*?)"?$', TEMPLATE, re.MULTILINE))
    defaults = list_defaults()
    assert shown == {name: defaults[name] for name in shown}


def test_the_template_can_be_read_as_it_is() -> None:
    assert Settings(_env_file=ROOT / ".env.template").api_port == 5000  # type: ignore[call-arg]


def test_no_page_names_a_setting_that_does_not_exist() -> None:
    prefixes = {name.split("_")[0] for name in list_defaults()}
    for page in PAGES:
        named = set(re.findall(r"`([A-Z]+(?:_[A-Z]+)+)(?:=[^`]*)?`", page.read_text()))
        assert {name for name in named - set(list_defaults()) if name.split("_")[0] in prefixes} == set(), page


def test_the_operations_page_names_every_metric(app: Flask, client: FlaskClient) -> None:
    services: Services = app.extensions["services"]
    services.heartbeats.record("io")
    for counter in (BYTES, ANSWERS):
        services.counters.add(counter, "library.example")
    services.counters.set_gauge(GPU_MEMORY, {"0 total": 1}, 60)
    families = text_string_to_metric_families(client.get("/metrics").text)
    samples = [sample for family in families for sample in family.samples]
    found = {f"{each.name}{{{','.join(each.labels)}}}" if each.labels else each.name for each in samples}
    rows = list_rows(read_page("docs/operations.md"))
    assert {row[0].strip("`") for row in rows if row[0].startswith("`extractor_") and len(row) == 3} == found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_resolves(page: Path) -> None:
    for link in list_links(page.read_text()):
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        assert not anchor or anchor in list_anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_page_names_the_repository_of_the_original(page: Path) -> None:
    assert ORIGINAL not in page.read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_each_command_of_run_sh_in_a_page_exists(page: Path) -> None:
    (commands,) = re.findall(r"Usage: bash run\.sh \[(.*?)\]", read_page("run.sh"))
    named = re.findall(r"bash run\.sh ([a-z]+)\b", "\n".join(list_blocks(page.read_text())))
    assert set(named) <= set(commands.split("|"))


def test_the_readme_shows_demo_and_test_and_the_start_of_the_service() -> None:
    blocks = "\n".join(list_blocks(read_page("README.md")))
    assert set(re.findall(r"^bash run\.sh\b ?(\w*)", blocks, re.MULTILINE)) >= {"", "demo", "test"}


def test_the_readme_is_short() -> None:
    assert len(read_page("README.md").splitlines()) <= README_LINES


def test_the_nginx_block_agrees_with_the_defaults() -> None:
    block = find_block(read_page("docs/install.md"), "location", "nginx")
    defaults = list_defaults()
    assert set(re.findall(r"proxy_pass http://(.*);", block)) == {f"{defaults['API_HOST']}:{defaults['API_PORT']}"}
    sizes = [defaults["MAX_DATASET_MB"], defaults["MAX_REQUEST_MB"]]
    assert re.findall(r"client_max_body_size (\d+)m;", block) == sizes
    (uploads,) = re.findall(r"location ~ \^/\(send-\S* \{(.*?)\}", block, re.DOTALL)
    assert "proxy_request_buffering off;" in uploads, "nginx would store an upload before the API checks the key"
    passed = set(re.findall(r"^proxy_set_header (\S+)", block, re.MULTILINE))
    assert passed == {"Host", *(f"X-Forwarded-{name}" for name in ("For", "Host", "Prefix", "Proto"))}


def test_both_nginx_blocks_name_the_same_uploads() -> None:
    block = find_block(read_page("docs/install.md"), "location", "nginx")
    below = find_block(read_page("docs/operations.md"), "location", "nginx")
    pattern = r"location ~ \^/(?:extractor/)?\((send-\S*)\)\$"
    assert re.findall(pattern, block) == re.findall(pattern, below) == ["send-data|send-dataset|run_detect|ui/jobs"]
    assert "/$1$is_args$args;" in below, "nginx would drop the query"


def test_the_commands_by_hand_are_those_of_supervisor_and_of_the_original() -> None:
    blocks = "\n".join(list_blocks(read_page("docs/install.md")))
    shown = {line.partition("#")[0].strip() for line in blocks.splitlines()}
    supervisor = ConfigParser(interpolation=None)
    supervisor.read(ROOT / "app" / "supervisord.conf")
    started = [supervisor[f"program:{name}"]["command"] for name in ("io", "gpu", "post", "schedule", "api")]
    assert {command.removeprefix('"%(ENV_BIN)s/').replace('"', "") for command in started} <= shown
    assert set(TWO_COMMANDS) <= shown
