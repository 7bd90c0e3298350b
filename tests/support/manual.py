"""The pages of the manual, as tests read them: tables, code blocks, headings and links."""

import re
from pathlib import Path

from app.config import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("models/*.md"), *ROOT.glob("bench/*.md")])


def read_page(name: str) -> str:
    return (ROOT / name).read_text()


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
