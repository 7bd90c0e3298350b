"""The pages of the manual, as tests read them: sections, tables, code blocks, commands, headings and links."""

import importlib
import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from unittest.mock import patch

from app.config import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("models/*.md"), *ROOT.glob("bench/*.md")])
# Pages for developers of client apps.
CLIENT_PAGES = ("api", "detection", "exports", "similarity", "training", "webhooks")
CLIENT_EXAMPLE = ROOT / "docs" / "client_example.py"
JOB_ID = "a" * 32
VARIABLES = {"$API_KEY": "key", "$METRICS_TOKEN": "token", "$API": "", "$JOB": JOB_ID}
NOT_RUN = "<!-- Not run by the tests. -->"
# Options of curl that the pages use and that take a value.
_OPTIONS = {"-X": "method", "-H": "header", "-F": "form", "-d": "data", "-o": "file"}


@dataclass
class Curl:
    """A request, as a curl command describes it."""

    method: str = ""
    target: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    form: dict[str, str] = field(default_factory=dict)
    data: str = ""


def read_page(name: str) -> str:
    return (ROOT / name).read_text()


def import_client(name: str = "client") -> ModuleType:
    """Import the client of the manual, or its example ``client_example``."""
    with patch.object(sys, "path", [str(ROOT / "docs"), *sys.path]):
        return importlib.import_module(name)


def list_blocks(page: str, language: str = "shell") -> list[str]:
    """Return the code blocks of a page in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page, re.MULTILINE | re.DOTALL)


def find_block(page: str, words: str, language: str = "shell") -> str:
    """Return the only code block of a page that contains some words."""
    (block,) = [block for block in list_blocks(page, language) if words in block]
    return block


def list_rows(page: str) -> list[list[str]]:
    """Return the cells of every table row of a page."""
    lines = [line for line in page.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|"))] for line in lines]


def list_links(page: str) -> list[str]:
    """Return the targets of the links of a page, without those to other sites."""
    text = re.sub(r"^```.*?^```", "", page, flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"\]\((?!https?:)([^)\s]+)\)", text)


def list_anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives to the headings of a page."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def split_sections(text: str) -> dict[str, str]:
    """Return the content of each section by its heading, without backticks; code blocks may contain ``#``."""
    parts = re.split(r"^#{1,4} (.+)$(?![^`]*\n```\n)", text, flags=re.MULTILINE)
    return {heading.replace("`", ""): body for heading, body in zip(parts[1::2], parts[2::2], strict=True)}


def find_tables(text: str) -> list[list[list[str]]]:
    """Return the tables, each a list of rows of cells. The first row is the head."""
    found = re.findall(r"(?:^\|.*\|\n)+", text, flags=re.MULTILINE)
    return [[_split_row(row) for row in table.splitlines() if not re.match(r"\| -", row)] for table in found]


def find_table(text: str, *head: str) -> list[list[str]]:
    """Return the rows of the table whose head begins with some words."""
    (table,) = [table for table in find_tables(text) if table[0][: len(head)] == list(head)]
    return table[1:]


def find_names(cell: str) -> list[str]:
    """Return what stands between backticks in a cell."""
    return re.findall(r"`([^`]+)`", cell)


def split_commands(block: str) -> Iterator[list[str]]:
    """Yield the words of each command of a shell block, without comments."""
    waiting = ""
    for line in block.splitlines():
        waiting += line
        if line.endswith("\\"):
            waiting = waiting[:-1]
            continue
        try:
            words = shlex.split(waiting, comments=True)
        except ValueError:  # a quotation that continues on the next line
            waiting += "\n"
            continue
        waiting = ""
        if words:
            yield words
    assert not waiting, waiting


def parse_curl(words: list[str]) -> Curl:
    """Return the request of a curl command, with the variables of the pages replaced."""
    curl, rest = Curl(), iter(words[1:])
    for word in map(_expand, rest):
        match _OPTIONS.get(word, word):
            case "-O" | "-OJ":
                pass
            case "method":
                curl.method = next(rest)
            case "header":
                name, _, value = _expand(next(rest)).partition(": ")
                curl.headers[name] = value
            case "form":
                name, _, value = _expand(next(rest)).partition("=")
                curl.form[name] = value
            case "data":
                curl.data = _expand(next(rest))
            case "file":
                next(rest)
            case target:
                assert target.startswith("/"), f"{words}: {target}"
                assert not curl.target, words
                curl.target = target
    curl.method = curl.method or ("POST" if curl.form or curl.data else "GET")
    return curl


def _expand(word: str) -> str:
    for name, value in VARIABLES.items():
        word = word.replace(name, value)
    return word


def _split_row(row: str) -> list[str]:
    return [cell.strip() for cell in row.strip("|").split(" | ")]
