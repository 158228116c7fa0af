"""What Tab offers on a ``%mcp`` line."""

from __future__ import annotations

import pytest

from mcp_notebook.commands.completing import complete
from mcp_notebook.commands.parsing import parse


class Known:
    def files(self, typed):
        return [path for path in ("off.jsonl", "run.jsonl", "vault/") if path.startswith(typed)]

    def servers(self):
        return ["figma", "files", "git-hub"]

    def tools(self, server):
        return {"figma": ["get_file", "get-code"]}.get(server, [])

    def arguments(self, server, tool):
        return ["query", "state"] if (server, tool) == ("figma", "get_file") else []

    def values(self, server, tool, argument):
        return ["open", "in review"] if argument == "state" else []


def offered(text):
    found = complete(text, Known())
    return None if found is None else [text[: found.start] + word for word in found.candidates]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("%mcp conn", ["%mcp connect"]),
        ("%mcp sign-", ["%mcp sign-in", "%mcp sign-out"]),
        ("x = %mcp connect fi", ["x = %mcp connect figma", "x = %mcp connect files"]),
        ("%mcp connect git-", ["%mcp connect git-hub"]),
        ("%mcp connect figma --a", ["%mcp connect figma --as"]),
        ("%mcp connect figma --as ", []),
        ("%mcp call figma get", ["%mcp call figma get_file", "%mcp call figma get-code"]),
        ("%mcp call figma get_file q", ["%mcp call figma get_file query="]),
        ("%mcp call figma get_file query=a ", ["%mcp call figma get_file query=a state="]),
        (
            "%%mcp call figma get_file state=",
            [
                "%%mcp call figma get_file state=open",
                '%%mcp call figma get_file state="in review"',
            ],
        ),
        ('%mcp call figma get_file state="in r', ['%mcp call figma get_file state="in review"']),
        (
            "%mcp add a https://a --transport ",
            [f"%mcp add a https://a --transport {t}" for t in ("http", "sse")],
        ),
        (
            "%mcp add a https://a --dpop=o",
            ["%mcp add a https://a --dpop=on", "%mcp add a https://a --dpop=off"],
        ),
        ("%mcp add a -- np", []),
        ("%mcp store f", ["%mcp store file"]),
        ("%mcp demo ", ["%mcp demo stop"]),
        ("%mcp import v", ["%mcp import vscode", "%mcp import vault/"]),
        ("%mcp record o", ["%mcp record off", "%mcp record off.jsonl"]),
        ("%mcp replay r", ["%mcp replay run.jsonl"]),
        (
            "%mcp record run.jsonl --",
            ["%mcp record run.jsonl --replace", "%mcp record run.jsonl --help"],
        ),
        ("%mcp help sto", ["%mcp help store"]),
        ("%mcp connect figma # fi", []),
        ("%mcp nonsense ", []),
    ],
)
def test_what_could_come_next_is_offered(text, expected):
    assert offered(text) == expected


@pytest.mark.parametrize("text", ["%mcpx ", "print('%mcp ", "%timeit ", "", "%mcp", "x == 3"])
def test_other_lines_are_left_alone(text):
    assert offered(text) is None


def test_an_option_that_was_given_is_not_offered_again_unless_it_repeats():
    found = offered("%mcp add a https://a.b --scope x --header A=1 --")
    assert not any(line.endswith("--scope") for line in found)
    assert any(line.endswith("--header") for line in found)


def test_everything_is_offered_after_the_command():
    assert len(offered("%mcp ")) > 10


def test_a_quoted_candidate_reads_back_as_the_value():
    (line,) = offered('%mcp call figma get_file state="in')
    assert parse(line.removeprefix("%mcp ")).pairs == (("state", "in review"),)
