"""What the README and the changelog say is so."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

import mcp_notebook
from mcp_notebook import __version__
from mcp_notebook.commands import manual, parsing

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
LINES = re.findall(r"%mcp( [^`\n#|]*)", README)


STANDS_FOR = {"NAME URL": "name https://a.example/mcp", "help COMMAND": "help add"}


@pytest.mark.parametrize("line", sorted({line.strip() for line in LINES if line.strip()}))
def test_every_command_that_is_shown_is_understood(line):
    for word, meaning in STANDS_FOR.items():
        line = line.replace(word, meaning)
    if " " in line:
        assert parsing.parse(line)
    else:
        assert manual.help_text(line)  # it is only named


def test_the_two_commands_do_all_the_set_up():
    commands = [line.strip() for line in README.splitlines() if "python3 -m venv" in line]
    assert len(commands) == 2
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for line in commands:
        extra = re.search(r'-e "\.\[(\w+)\]"', line)
        assert extra is not None
        assert extra[1] in extras["optional-dependencies"]
    script = re.search(r"python (\S+\.py)", commands[0])
    assert script is not None
    assert (ROOT / script[1]).is_file()
    assert commands[1].endswith("-m pytest")


@pytest.mark.parametrize("block", re.findall(r"```python\n(.*?)```", README, re.DOTALL))
def test_every_example_is_python(block):
    ast.parse(re.sub(r"(?m)^%.*$", "", block).replace("await ", ""))


def test_every_public_name_that_is_shown_exists():
    names = set(re.findall(r"mcp_notebook\.([a-z_]+)\b(?!\.py)", README))
    assert {"connect", "accept_defaults"} <= names
    for name in names:
        assert hasattr(mcp_notebook, name)
    for error in re.findall(r"`(\w+Error)`", README):
        assert hasattr(mcp_notebook, error)


def test_every_file_of_the_house_that_is_named_exists():
    rooms = README.partition("| room |")[2]
    paths = re.findall(r"`((?:\w+/)+|\w+\.py)`", rooms.partition("Tests use")[0])
    assert len(paths) > 10
    for path in paths:
        assert (ROOT / "mcp_notebook" / path).exists()


@pytest.mark.parametrize("what", ["servers.json", "accounts.json", "trusted.json", "seen",
                                  "answers.sqlite", "tokens"])  # fmt: skip
def test_what_is_stored_is_named_as_it_is(what):
    assert f"`{what}" in README
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "mcp_notebook").rglob("*.py")]
    assert any(f'"{what}"' in source for source in sources)


def test_every_picture_that_is_shown_exists():
    for picture in re.findall(r"!\[[^]]*\]\(([^)]+)\)", README):
        assert (ROOT / picture).is_file()


def test_the_changelog_begins_with_this_version():
    first = re.search(r"^## \[([^]]+)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert first is not None
    assert first[1] == __version__
