"""Servers out of other clients' files."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from mcp_notebook.config import importing
from mcp_notebook.config.entries import read_entry
from mcp_notebook.config.servers import OAuthSettings, Server
from mcp_notebook.errors import ServerConfigError

URL = "https://a.example/mcp"


@pytest.fixture
def person(tmp_path, monkeypatch):
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    (tmp_path / "person").mkdir()
    return tmp_path / "person"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "project").mkdir()
    return tmp_path / "project"


def write(path, document):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(document if isinstance(document, str) else json.dumps(document))


def taken(found):
    return {item.name: item.use() for item in found}


class TestClients:
    def test_each_system_keeps_the_files_in_its_own_place(self):
        def place(platform):
            (path,) = importing.locations(
                "claude",
                person=Path("/p"),
                folder=Path("/f"),
                environ={"APPDATA": "/roaming"},
                platform=platform,
            )
            return path.as_posix()

        assert place("darwin") == "/p/Library/Application Support/Claude/claude_desktop_config.json"
        assert place("win32") == "/roaming/Claude/claude_desktop_config.json"
        assert place("linux") == "/p/.config/Claude/claude_desktop_config.json"

    @pytest.mark.parametrize("source", importing.CLIENTS)
    def test_every_clients_own_file_is_read(self, source, folder, person):
        for path in importing.locations(source, folder=folder, person=person):
            key = "servers" if source == "vscode" else "mcpServers"
            write(path, {key: {f"in-{path.parent.name.strip('.')}": {"url": URL}}, "other": 1})
        found = importing.find(source, folder=folder, person=person)
        assert found
        assert all(item.server == Server(name=item.name, url=URL) for item in found)

    def test_claude_code_gives_the_projects_own_servers_too(self, folder, person):
        write(
            person / ".claude.json",
            {
                "mcpServers": {"all": {"type": "http", "url": URL}},
                "projects": {
                    str(folder): {"mcpServers": {"here": {"url": URL}}},
                    "/elsewhere": {"mcpServers": {"there": {"url": URL}}},
                },
            },
        )
        assert set(taken(importing.find("claude-code", folder=folder, person=person))) == {
            "all",
            "here",
        }

    def test_comments_and_last_commas_are_read_over_and_texts_left_alone(self, folder, person):
        write(
            folder / ".vscode" / "mcp.json",
            '\ufeff{ // servers\n "servers": { /* one\n */ "a": {"url": "https://a.example/mcp?x=1,}",'
            '\n"headers": {"X": "/* no */ // no, ]"},},},}',
        )
        (server,) = taken(importing.find("vscode", folder=folder, person=person)).values()
        assert server.url == "https://a.example/mcp?x=1,}"
        assert server.headers == {"X": "/* no */ // no, ]"}

    def test_a_client_that_is_not_there_tells_where_it_was_looked_for(self, folder, person):
        with pytest.raises(ServerConfigError, match="cursor") as caught:
            importing.find("cursor", folder=folder, person=person)
        assert str(person) in caught.value.hint

    def test_a_name_in_two_files_is_told_unless_it_is_the_same_server(self, folder, person):
        for path in importing.locations("cursor", folder=folder, person=person):
            write(
                path,
                {
                    "mcpServers": {
                        "same": {"url": URL},
                        "other": {"url": f"{URL}/{path.parent.parent.name}"},
                    }
                },
            )
        found = importing.find("cursor", folder=folder, person=person)
        assert [(item.name, item.problem is None) for item in found] == [
            ("same", True),
            ("other", True),
            ("other", False),
        ]


class TestFiles:
    def test_nothing_is_started(self, folder, tmp_path):
        sentinel = tmp_path / "started"
        write(
            folder / "x.json",
            {"mcpServers": {"a": {"command": "touch", "args": [str(sentinel)]}}},
        )
        found = importing.find("x.json", folder=folder)
        importing.preview(found)
        assert found[0].server is not None
        assert not sentinel.exists()

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="POSIX")
    @pytest.mark.timeout(5)
    def test_a_pipe_is_refused_and_never_waited_for(self, folder):
        os.mkfifo(folder / "pipe.json")
        with pytest.raises(ServerConfigError, match="no file"):
            importing.find("pipe.json", folder=folder)

    def test_a_large_file_is_refused(self, folder):
        write(folder / "x.json", " " * (1024 * 1024 + 1))
        with pytest.raises(ServerConfigError, match="1 MiB"):
            importing.find("x.json", folder=folder)

    @pytest.mark.parametrize("text", ["", "[1]", "{", "not json", '{"a": planted}', "\x00"])
    def test_what_is_no_json_object_is_refused_without_being_shown(self, folder, text):
        write(folder / "x.json", text)
        with pytest.raises(ServerConfigError) as caught:
            importing.find("x.json", folder=folder)
        assert "planted" not in str(caught.value)

    def test_hostile_text_costs_little(self, folder):
        started = time.perf_counter()
        for text in ("/*" * 500_000, '"\\"' * 300_000, "[" * 1_000_000, "," * 1_000_000):
            write(folder / "x.json", text)
            with pytest.raises(ServerConfigError):
                importing.find("x.json", folder=folder)
        assert time.perf_counter() - started < 5

    def test_a_missing_file_names_the_known_clients(self, folder):
        with pytest.raises(ServerConfigError) as caught:
            importing.find("./nothing.json", folder=folder)
        assert "vscode" in caught.value.hint


class TestEntries:
    @pytest.mark.parametrize(
        ("entry", "expected"),
        [
            ({"url": URL}, {"url": URL}),
            ({"httpUrl": URL}, {"url": URL}),
            ({"serverUrl": URL, "type": "streamable-http"}, {"url": URL}),
            ({"type": "sse", "url": URL}, {"url": URL, "transport": "sse"}),
            (
                {"url": "https://a.example/sse"},
                {"url": "https://a.example/sse", "transport": "sse"},
            ),
            (
                {"command": "uvx", "args": ["x", "--port", 80], "env": {"A": "$TOKEN", "B": True}},
                {
                    "transport": "stdio",
                    "command": ("uvx", "x", "--port", "80"),
                    "env": {"A": "${TOKEN}", "B": "true"},
                },
            ),
            (
                {"type": "local", "command": ["bun", "x.ts"], "environment": {"A": "${B}"}},
                {"transport": "stdio", "command": ("bun", "x.ts"), "env": {"A": "${B}"}},
            ),
            (
                {"url": URL, "headers": {"Authorization": "Bearer ${env:T}"}},
                {"url": URL, "headers": {"Authorization": "Bearer ${env:T}"}},
            ),
            (
                {
                    "url": URL,
                    "oauth": {"clientId": "id", "callbackPort": 8080, "scopes": ["a", "b"]},
                },
                {
                    "url": URL,
                    "oauth": OAuthSettings(client_id="id", callback_port=8080, scope="a b"),
                },
            ),
            (
                {"url": URL, "auth": {"CLIENT_ID": "id", "CLIENT_SECRET": "${env:S}"}},
                {"url": URL, "oauth": OAuthSettings(client_id="id", client_secret_env="S")},
            ),
            (
                {
                    "command": "npx",
                    "args": [
                        "-y",
                        "mcp-remote@latest",
                        URL,
                        "--header",
                        "X-Team: ${TEAM}",
                        "--transport",
                        "sse-only",
                    ],
                    "env": {"TEAM": "design"},
                },
                {"url": URL, "headers": {"X-Team": "design"}, "transport": "sse"},
            ),
        ],
    )
    def test_an_entry_becomes_its_server(self, entry, expected):
        found = read_entry("a", entry, "here")
        assert found.problem is None
        assert found.server == Server(name="a", **expected)

    @pytest.mark.parametrize(
        "entry",
        [
            3,
            {},
            {"command": ""},
            {"command": 3},
            {"command": "x", "args": "y"},
            {"command": "x", "args": [{}]},
            {"command": "x", "env": ["A"]},
            {"url": ["x"]},
            {"type": "websocket", "url": "wss://a.example"},
            {"url": "http://a.example/mcp"},
            {"url": "https://a.example/mcp?api_key=planted"},
            {"url": "https://u:planted@a.example/mcp"},
            {"url": "https://${env:HOST}/mcp"},
            {"url": URL, "headers": {"Authorization": "Bearer planted"}},
            {"command": "npx", "args": ["--key", "${input:planted-key}"]},
            {"url": URL, "oauth": {"clientId": "x", "clientSecret": "planted"}},
            {"command": "npx", "args": ["x", "--token", "planted"]},
            {"command": "npx", "args": ["x"], "env": {"API_TOKEN": "planted"}},
            {"command": "npx", "args": ["${workspaceFolder}"]},
            {"command": "npx", "cwd": "${workspaceFolder}"},
            {
                "command": "npx",
                "args": ["mcp-remote", URL, "--header", "Authorization: Bearer ${A}"],
                "env": {"A": "planted"},
            },
        ],
    )
    def test_what_cannot_be_taken_is_a_problem_that_shows_no_secret(self, entry):
        found = read_entry("a", entry, "here")
        assert found.server is None
        assert found.problem.hint
        shown = importing.preview([found]) + str(found.problem) + repr(found)
        if "input:" not in json.dumps(entry):
            assert "planted" not in shown

    def test_what_an_editor_asks_for_is_taken_from_a_variable(self):
        found = read_entry(
            "a", {"url": URL, "headers": {"X-Api-Key": "${input:perplexity-key}"}}, "here"
        )
        assert found.use().headers == {"X-Api-Key": "${PERPLEXITY_KEY}"}
        (note,) = found.notes
        assert "'perplexity-key'" in note
        assert "PERPLEXITY_KEY" in note
        odd = read_entry("a", {"command": "x", "env": {"A": "${input:2 fa \u202e}"}}, "here")
        assert odd.use().env == {"A": "${_2_FA}"}
        assert "\u202e" not in "".join(odd.notes)

    def test_a_secret_of_another_clients_file_stays_there(self, tmp_path):
        path = tmp_path / "mcp.json"
        entries = {
            "search": {
                "command": "npx",
                "args": ["x"],
                "env": {"BRAVE_API_KEY": "planted", "A": "b"},
            },
            "fig ma": {"url": URL, "headers": {"Authorization": "Bearer planted-9", "X-Team": "t"}},
            "keyed": {"url": URL, "headers": {"X-Api-Key": "planted"}},
            "bridged": {
                "command": "npx",
                "args": ["mcp-remote", URL, "--header", "Authorization: Bearer ${TOKEN}"],
                "env": {"TOKEN": "planted"},
            },
        }
        path.write_text(json.dumps({"mcpServers": entries}))
        found = importing.find(str(path))
        search, figma, keyed, bridged = (item.use() for item in found)
        assert search.env == {"BRAVE_API_KEY": "${BRAVE_API_KEY}", "A": "b"}
        assert figma.headers == {"Authorization": "Bearer ${FIG_MA_AUTHORIZATION}", "X-Team": "t"}
        assert keyed.headers == {"X-Api-Key": "${KEYED_X_API_KEY}"}
        assert bridged.headers == {"Authorization": "Bearer ${TOKEN}"}
        assert "set the environment variable BRAVE_API_KEY" in found[0].notes[0]
        assert "planted" not in importing.preview(found) + repr(found)

    @pytest.mark.parametrize(
        ("url", "taken", "variables"),
        [
            (
                "https://a.example/mcp?tavilyApiKey=planted",
                "?tavilyApiKey=${KEYED_TAVILYAPIKEY}",
                1,
            ),
            ("https://a.example/mcp?team=7&token=plan%2Fted", "?team=7&token=${KEYED_TOKEN}", 1),
            (
                "https://a.example/s/plantedNGI5YjY5ZTQ0YzQ4NS1hYzEwLTJk/mcp",
                "/s/${KEYED_KEY}/mcp",
                1,
            ),
            (
                "https://a.example/plantedNGI5YjY5ZTQ0YzQ4NS1hYzEw1/plantedNGI5YjY5ZTQ0YzQ4NS1hYzEw12",
                "/${KEYED_KEY}/${KEYED_KEY_2}",
                2,
            ),
            ("https://a.example/mcp?project=planted", "?project=planted", 0),
        ],
    )
    def test_a_key_in_an_address_stays_there_too(self, tmp_path, url, taken, variables):
        path = tmp_path / "mcp.json"
        bridged = {"command": "npx", "args": ["mcp-remote", url]}
        entries = {"keyed": {"url": url}, "bridged": bridged}
        path.write_text(json.dumps({"mcpServers": entries}))
        found = importing.find(str(path))
        server, through = (item.use() for item in found)
        assert server.url.endswith(taken)
        assert through.url == server.url.replace("KEYED_", "BRIDGED_")
        assert len([note for note in found[0].notes if "stays there" in note]) == variables
        assert ("planted" in importing.preview(found)) == (not variables)

    def test_an_address_that_is_none_is_a_problem_also_where_keys_are_looked_for(self, tmp_path):
        path = tmp_path / "mcp.json"
        path.write_text('{"mcpServers": {"odd": {"url": "https://[::1/?token=planted"}}}')
        (found,) = importing.find(str(path))
        assert "planted" not in str(found.problem)

    def test_an_editors_folders_are_filled_in(self, tmp_path):
        entry = {
            "command": "npx",
            "args": ["fs", "${workspaceFolder}/data"],
            "cwd": "${workspaceFolder}",
            "env": {"CACHE": "${userHome}/.cache"},
        }
        path = tmp_path / "project" / ".vscode" / "mcp.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"servers": {"files": entry}}))
        for found in (
            importing.find(str(path)),
            importing.find("vscode", folder=tmp_path / "project", person=tmp_path),
        ):
            server = found[0].use()
            assert server.command == ("npx", "fs", f"{tmp_path}/project/data")
            assert server.cwd == f"{tmp_path}/project"
            assert server.env == {"CACHE": f"{Path.home()}/.cache"}

    def test_a_file_of_variables_is_not_read_and_that_is_said(self):
        found = read_entry("a", {"command": "x", "envFile": "/etc/passwd"}, "here")
        assert found.use().env == {}
        assert "envFile is not read" in found.notes[0]

    def test_a_name_that_cannot_be_typed_is_made_one_that_can(self):
        found = read_entry("io.github/My Server \u202e", {"url": URL}, "here")
        assert found.name == "io.github-My-Server"
        assert "\u202e" not in "".join(found.notes)

    def test_a_switched_off_server_is_noted(self):
        assert any(
            "off" in note for note in read_entry("a", {"url": URL, "disabled": True}, "").notes
        )


class TestPreview:
    def test_it_tells_what_would_be_contacted_run_and_sent(self):
        found = [
            read_entry(
                "web", {"url": URL, "headers": {"Authorization": "Bearer ${FIGMA_KEY}"}}, "f.json"
            ),
            read_entry(
                "prog",
                {"command": "bash", "args": ["-c", "evil"], "env": {"LOG": "planted"}},
                "f.json",
            ),
            read_entry("keyed", {"url": "https://a.example/s/${A_KEY}/mcp?t=${TEAM}"}, "f.json"),
            read_entry("bad", {"url": "http://a.example"}, "f.json"),
        ]
        text = importing.preview(found)
        assert text.count("f.json") == 1
        assert URL in text
        assert "FIGMA_KEY" in text
        assert "in its address, this machine's A_KEY and TEAM" in text
        assert "bash -c evil" in text
        assert "careful" in text
        assert "LOG" in text
        assert "planted" not in text
        assert "cannot be taken" in text


class TestPasted:
    @pytest.mark.parametrize(
        "text",
        [
            '{"mcpServers": {"a": {"url": "%s"}}}',
            '{"servers": {"a": {"url": "%s"}}}',
            '{"mcp": {"servers": {"a": {"url": "%s"}}}}',
            '"mcpServers": {"a": {"url": "%s"}}',
            '"a": {"url": "%s"},',
            '{"a": {"url": "%s"}}',
            '// in your settings\n{"mcpServers": {"a": {"url": "%s",}}}',
        ],
    )
    def test_every_form_a_readme_shows_is_read(self, text):
        assert taken(importing.read_text(text % URL)) == {"a": Server(name="a", url=URL)}

    def test_the_lines_name_is_the_servers(self):
        assert set(taken(importing.read_text(f'{{"url": "{URL}"}}', name="b"))) == {"b"}
        assert set(taken(importing.read_text(f'{{"a": {{"url": "{URL}"}}}}', name="b"))) == {"b"}

    @pytest.mark.parametrize(
        ("text", "name"),
        [
            ('{"url": "https://a.example"}', None),
            ("{}", None),
            ('{"mcpServers": {}}', "a"),
            ('{"a": {"url": "https://a"}, "b": {"url": "https://b"}}', "c"),
            ('{"url": "https://a.example"}', "a b"),
            ("pip install x", None),
        ],
    )
    def test_what_names_no_server_is_refused(self, text, name):
        with pytest.raises(ServerConfigError):
            importing.read_text(text, name=name)
