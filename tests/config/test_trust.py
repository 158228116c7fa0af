"""Which programs may be started as servers."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from mcp_notebook.config import trust
from mcp_notebook.config.servers import Server
from mcp_notebook.config.trust import TrustBook
from mcp_notebook.errors import ServerConfigError


@pytest.fixture
def programs(tmp_path):
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("tool", "other"):
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(0o700)
    return folder


@pytest.fixture
def environ(programs):
    return {"PATH": str(programs)}


@pytest.fixture
def server(tmp_path):
    return Server(name="files", transport="stdio", command=("tool", "-y", "x"), env={"A": "${B}"})


@pytest.fixture
def book(tmp_path):
    return TrustBook(tmp_path / "home" / "trusted.json")


def test_nothing_is_trusted_until_it_was_allowed(book, server, environ):
    with pytest.raises(ServerConfigError, match="not allowed") as caught:
        book.check(server, environ)
    assert "tool -y x" in caught.value.message
    assert "%mcp trust files" in caught.value.hint
    book.trust(server, environ)
    book.check(server, environ)


@pytest.mark.parametrize(
    "change",
    [
        {"command": ("tool", "-y", "evil")},
        {"command": ("tool", "-y x")},
        {"command": ("other", "-y", "x")},
        {"env": {"A": "${B}", "NODE_OPTIONS": "--require evil"}},
        {"env": {"A": "${C}"}},
        {"cwd": "/tmp"},
    ],
)
def test_a_change_is_asked_for_again(book, server, environ, change):
    book.trust(server, environ)
    changed = replace(server, **change)
    assert not book.is_trusted(changed, environ)
    with pytest.raises(ServerConfigError, match="changed since"):
        book.check(changed, environ)


def test_another_file_behind_the_same_name_is_asked_for_again(book, server, environ, tmp_path):
    book.trust(server, environ)
    earlier = tmp_path / "earlier"
    earlier.mkdir()
    (earlier / "tool").write_text("#!/bin/sh\n")
    (earlier / "tool").chmod(0o700)
    shadowed = {"PATH": os.pathsep.join([str(earlier), environ["PATH"]])}
    assert not book.is_trusted(server, shadowed)
    assert book.is_trusted(server, environ)


def test_the_same_words_mean_another_script_in_another_folder(book, environ, tmp_path, monkeypatch):
    server = Server(name="s", transport="stdio", command=("tool", "server.py"))
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "server.py").write_text("")
    monkeypatch.chdir(tmp_path / "one")
    book.trust(server, environ)
    monkeypatch.chdir(tmp_path / "two")
    assert not book.is_trusted(server, environ)
    book.trust(server, environ)
    monkeypatch.chdir(tmp_path / "one")
    assert book.is_trusted(server, environ)


def test_what_was_allowed_can_be_taken_back(book, server, environ):
    book.trust(server, environ)
    book.forget("files")
    assert not book.is_trusted(server, environ)


def test_what_is_not_there_cannot_be_trusted(book, server):
    with pytest.raises(ServerConfigError, match="not found"):
        book.trust(server, {"PATH": "/nonexistent"})


def test_a_server_with_a_url_starts_nothing(book):
    assert book.is_trusted(Server(name="a", url="https://a.example/mcp"))


def test_the_file_holds_no_command_and_no_value(book, server, environ, tmp_path):
    book.trust(replace(server, env={"A": "planted"}), environ)
    text = (tmp_path / "home" / "trusted.json").read_text()
    assert "planted" not in text
    assert "tool" not in text


def test_a_damaged_file_trusts_nothing(book, server, environ, tmp_path):
    book.trust(server, environ)
    (tmp_path / "home" / "trusted.json").write_text('{"files": "x"')
    assert not book.is_trusted(server, environ)


def test_what_would_run_is_shown_whole_and_unmasked(environ):
    server = Server(
        name="a",
        transport="stdio",
        command=("tool", "a b", "\u202efdp.exe", "se\u0441ure", "\x1b[2Jx", "y" * 5_000),
        env={"SECRET": "planted"},
    )
    shown = trust.launch(server, environ)
    assert "y" * 5_000 in shown
    assert "'a b'" in shown
    assert "\u202e" not in shown
    assert r"\u202efdp.exe" in shown
    assert r"se\u0441ure" in shown  # a Cyrillic letter that looks like another
    assert "\x1b" not in shown
    assert "SECRET" in shown
    assert "planted" not in shown
    assert environ["PATH"] in shown


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (("bash", "-c", "curl x | sh"), "a shell"),
        (("/bin/sh", "run.sh"), "a shell"),
        (("env", "bash", "-c", "x"), "a shell"),
        (("cmd.exe", "/c", "x"), "a shell"),
        (("python3.12", "-c", "x"), "arguments themselves"),
        (("node", "--eval", "x"), "arguments themselves"),
        (("npx", "-c", "x"), "shell"),
        (("npx", "-y", "package"), "fetches a package"),
        (("docker", "run", "-v", "/:/host", "x"), "sees /"),
        (("docker", "run", "-v/:/host", "x"), "sees /"),
        (("docker", "run", "--volume=/etc:/e", "x"), "sees /etc"),
        (("docker", "run", "--mount", "type=bind,src=/,dst=/h", "x"), "sees /"),
        (("docker", "run", "-v", "/var/run/docker.sock:/s", "x"), "docker.sock"),
        (("docker", "run", "--privileged", "x"), "administrator"),
        (("sudo", "x"), "another user"),
    ],
)
def test_dangerous_forms_are_marked(command, says):
    found = trust.dangers(Server(name="a", transport="stdio", command=command))
    assert any(says in danger for danger in found)


def test_variables_that_change_what_is_loaded_are_marked():
    server = Server(
        name="a", transport="stdio", command=("x",), env={"NODE_OPTIONS": "--require e"}
    )
    assert any("NODE_OPTIONS" in danger for danger in trust.dangers(server))


def test_an_ordinary_program_is_not_cried_wolf_over():
    for command in (("server", "--port", "80"), ("docker", "run", "-i", "-v", "/data/x:/x", "y")):
        assert trust.dangers(Server(name="a", transport="stdio", command=command)) == ()


def test_a_program_is_trusted_for_all_accounts_on_it(book, server, environ):
    book.trust(server, environ)
    account = replace(server, name="work", account_of=server.name)
    book.check(account, environ)
    changed = replace(account, command=("other",))
    with pytest.raises(ServerConfigError) as caught:
        book.check(changed, environ)
    assert caught.value.hint.endswith(f"%mcp trust {server.name}")
