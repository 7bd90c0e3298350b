"""The sentences of the project follow its rules: plain words, at most 25 words, entries that stand alone.

The rules are those of CONTRIBUTING.md. To see what breaks them in one folder::

    python -m tests.unit.test_language app/jobs
"""

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.config import ROOT

MOST_WORDS = 25
LONGEST_TEST_NAME = 70

# Words of another century, metaphors, and nouns that are hidden in clauses.
BANNED = re.compile(
    r"\b(?:till|anew|thereof|whereof|whoever|whosoever|whence|hence|nought|beside|"
    r"came of (?:it|this|that|them|a|an|the|each|every)|comes of (?:it|this|that)|became of|becomes of|"
    r"so many|so much|tell(?:s)? whether|told of|courier|parcel|pulse|ledger|"
    r"is there whole|let it be|all that is theirs|but for what|were it not)\b",
    re.IGNORECASE,
)
BANNED_START = re.compile(r"^(?:Of|What|Whose|Whoever) [a-z]")
# An entry of Args or Attributes that needs its name to be read: "job: Of the job."
FRAGMENT = re.compile(r"^\s+[\w, *`.]+(?: \([^)]*\))?: (?:Of|That|Which|Where|When|Whose|In|From|For|With)\b")

PYTHON_FOLDERS = ("app", "bench", "tests")
PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", ".env.template", "models/illustrations.md", "iiif/hosts.toml")


def find_problems(path: Path) -> list[str]:
    """Return what breaks the rules in a file, each with its line."""
    text = path.read_text()
    prose = _read_python(text) if path.suffix == ".py" else _read_page(text)
    problems = []
    for line, paragraph in prose:
        problems += [f"{_name(path)}:{line}: {problem}" for problem in _check(paragraph)]
    if path.name.startswith("test_"):
        names = re.findall(r"^ *(?:async )?def (test_\w+)", text, re.MULTILINE)
        problems += [f"{_name(path)}: {name} is too long" for name in names if len(name) > LONGEST_TEST_NAME]
    return problems


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def _check(paragraph: str) -> Iterator[str]:
    for line in paragraph.splitlines():
        if FRAGMENT.match(line):
            yield f"entry is a fragment: {line.strip()}"
    text = re.sub(
        r"https?://\S+|``.*?``|`[^`]*`|\"[^\"]*\"|“[^”]*”|\([^()]*\)",
        "Code",
        " ".join(paragraph.replace("**", "").split()),
    )
    for word in BANNED.findall(text):
        yield f"banned: {word!r} in: {text[:90]}"
    for sentence in re.split(r"(?<=[.!?:;])\s+(?=[A-Z`(\"“])|(?<=[:;])\s+", text):
        if BANNED_START.match(sentence):
            yield f"starts with {sentence.split()[0]!r}: {sentence[:80]}"
        if len(words := re.findall(r"[\w'’/-]*[A-Za-z][\w'’/-]*", sentence)) > MOST_WORDS:
            yield f"{len(words)} words: {sentence[:80]} …"


def _read_python(text: str) -> Iterator[tuple[int, str]]:
    """Yield the paragraphs of docstrings, comments and messages, each with its line."""
    docstrings: set[ast.AST] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            docstring = ast.get_docstring(node)
            if docstring:
                docstrings.add(node.body[0].value)  # type: ignore[attr-defined]
                yield from ((getattr(node, "lineno", 1), each) for each in _split(docstring))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in docstrings:
            # Shorter strings are no sentences, and a script of the broker is no prose.
            yield from (
                [(node.lineno, node.value)] if node.value.count(" ") > 5 and "redis.call" not in node.value else []
            )
    yield from _read_comments(text)


def _read_comments(text: str) -> Iterator[tuple[int, str]]:
    block: list[str] = []
    first, last = 0, -1
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            line = token.start[0]
            if line != last + 1 and block:
                yield first, " ".join(block)
                block = []
            first, last = (first if block else line), line
            block.append(token.string.lstrip("# "))
    if block:
        yield first, " ".join(block)


def _split(docstring: str) -> Iterator[str]:
    """Split a docstring into paragraphs, and an ``Args:`` section into its entries; leave out drawings."""
    for paragraph in re.split(r"\n\s*\n", docstring):
        if "====" in paragraph or "--->" in paragraph:
            continue
        if re.search(r"^ {4,}\S", paragraph, re.MULTILINE) and not re.search(r"^\w+:$", paragraph, re.MULTILINE):
            continue  # a drawing or a table
        if re.match(r"\s*(Args|Attributes|Returns|Raises|Yields):", paragraph):
            yield from re.split(r"\n(?= {4}\S)", paragraph)
        else:
            yield paragraph


def _read_page(text: str) -> Iterator[tuple[int, str]]:
    """Yield the paragraphs of a page of Markdown or of a settings file, without code blocks and tables."""
    line = 1
    text = re.sub(r"```.*?```", lambda match: "\n" * match[0].count("\n"), text, flags=re.DOTALL)
    for paragraph in re.split(r"(\n\s*\n|\n(?=\s*[-*|#] |\s*\d+\. |\|))", text):
        if not paragraph.lstrip().startswith(("|", "<")):
            yield line, re.sub(r"\]\([^)]*\)", "]", re.sub(r"^#.*$", "", paragraph, flags=re.MULTILINE))
        line += paragraph.count("\n")


def _list_files(folder: str = "") -> list[Path]:
    """Return the files of a folder, or of all folders; ``pages`` stands for single pages outside of them."""
    found = [path for name in PYTHON_FOLDERS for path in sorted((ROOT / name).rglob("*.py")) if path != Path(__file__)]
    found += sorted((ROOT / "docs").rglob("*.md"))
    pages = [ROOT / page for page in PAGES]
    return pages if folder == "pages" else [path for path in found if not folder or path.is_relative_to(ROOT / folder)]


@pytest.mark.parametrize("folder", [*PYTHON_FOLDERS, "docs", "pages"])
def test_sentences_are_plain_and_short(folder: str) -> None:
    assert [problem for path in _list_files(folder) for problem in find_problems(path)] == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('"""Wait till the job ends."""', "banned: 'till'"),
        ('"""Of the job, its state."""', "starts with 'Of'"),
        ('"""Return. \n\nArgs:\n    job_id: Of the job.\n"""', "entry is a fragment"),
        (f'"""A sentence with {"word " * 25}."""', "28 words"),
        ("x = 1  # what came of it", "banned: 'came of it'"),
        (f"def test_{'a' * 70}() -> None: ...", "is too long"),
    ],
)
def test_the_check_finds_what_it_looks_for(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "test_module.py"
    path.write_text(text)
    assert any(problem in each for each in find_problems(path))


if __name__ == "__main__":
    chosen = [Path(each).resolve() for each in sys.argv[1:]] or [*_list_files(), *_list_files("pages")]
    found = [path for each in chosen for path in (sorted(each.rglob("*.py")) if each.is_dir() else [each])]
    for problem in (problem for path in found for problem in find_problems(path)):
        print(problem)
