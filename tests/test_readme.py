"""What the README and the changelog say is so."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from mcp_notebook import __version__, command

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
LINES = re.findall(r"%mcp( [^`\n#|]*)", README)


STANDS_FOR = {"NAME URL": "name https://a.example/mcp", "help COMMAND": "help add"}


@pytest.mark.parametrize("line", sorted({line.strip() for line in LINES if line.strip()}))
def test_every_command_that_is_shown_is_understood(line):
    for word, meaning in STANDS_FOR.items():
        line = line.replace(word, meaning)
    if " " in line:
        assert command.parse(line)
    else:
        assert command.help_text(line)  # it is only named


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


def test_every_picture_that_is_shown_exists():
    for picture in re.findall(r"!\[[^]]*\]\(([^)]+)\)", README):
        assert (ROOT / picture).is_file()


def test_the_changelog_begins_with_this_version():
    first = re.search(r"^## \[([^]]+)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert first is not None
    assert first[1] == __version__
