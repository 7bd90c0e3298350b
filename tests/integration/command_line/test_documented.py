"""The commands of docs/command-line.md and of ``--help`` run as they are written."""

import re
import shlex
from pathlib import Path

import pytest

from app.command_line.program import program
from tests.integration.command_line.conftest import Run
from tests.support.drawn_datasets import draw_dataset
from tests.support.manual import find_names, find_tables, list_blocks, read_page, split_commands

PAGE = read_page("docs/command-line.md")
START = ["python", "-m", "app"]
COMMANDS = [words for block in list_blocks(PAGE) for words in split_commands(block) if words[:3] == START]
# Those of the same command share an output folder, so that later ones reuse the work of earlier ones.
NAMES = ("detect", "compare", "search", "evaluate", "models")


@pytest.mark.parametrize("name", NAMES)
def test_the_commands_of_the_page_run(command: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    pages = draw_dataset(tmp_path / "pages", train=1, val=3).folder
    (pages / "data.yaml").write_text("names: [illustration]\n")
    found = [words[3:] for words in COMMANDS if words[3] == name]
    assert found
    for words in found:
        replaced = [str(pages) if word == "pages/" else word for word in words]
        for number, word in enumerate(words[:-1], 1):
            if word == "--out":
                replaced[number] = str(tmp_path / words[number])
        done = command(*replaced)
        assert done.code == 0, f"{words}: {done.stderr}"
        if "--json" in words:
            assert done.facts


def test_the_page_names_every_command_option_and_exit_code() -> None:
    assert {words[3] for words in COMMANDS} == {*NAMES, "--help"}
    assert set(NAMES) == set(program.commands)
    sections = set(re.findall(r"^## `(\w+)`$", PAGE, re.MULTILINE))
    assert sections == set(NAMES)
    (table,) = [table for table in find_tables(PAGE) if table[0] == ["code", "meaning"]]
    assert [row[0] for row in table[1:]] == re.findall(r"^  (\d+)  ", str(program.epilog), re.MULTILINE)


def test_the_page_names_no_option_that_does_not_exist() -> None:
    options = {option for each in program.commands.values() for param in each.params for option in param.opts}
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", PAGE))
    assert named - {"--help", "--no-pictures"} <= options


@pytest.mark.parametrize("name", NAMES)
def test_the_examples_of_the_help_have_valid_options(name: str) -> None:
    command = program.commands[name]
    examples = re.findall(r"python -m app (.*)", str(command.epilog))
    assert examples
    for example in examples:
        first, *words = shlex.split(example)
        assert first == name
        context = command.make_context(name, [], resilient_parsing=True)
        command.make_parser(context).parse_args(words)


def test_the_client_page_names_every_method_and_error() -> None:
    page, code = read_page("docs/client.md"), read_page("docs/client.py")
    methods = set(re.findall(r"^    def ([a-z]\w+)\(", code, re.MULTILINE))
    (table,) = [table for table in find_tables(page) if table[0] == ["method", "result"]]
    assert {name for row in table[1:] for name in find_names(row[0])} == methods
    (errors,) = [table for table in find_tables(page) if table[0] == ["error", "meaning"]]
    assert {find_names(row[0])[0] for row in errors[1:]} == set(
        re.findall(r"^class (\w+)\(\w*Error\)", code, re.MULTILINE)
    ) | {"ClientError"}
