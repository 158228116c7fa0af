"""The book of servers: a file that several kernels share and people may edit."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys

import pytest
from filelock import FileLock

from mcp_notebook.config import statefile
from mcp_notebook.config.book import ServerBook
from mcp_notebook.config.servers import (
    OAuthSettings,
    Server,
    address_of,
    expand,
    is_keyed,
    request_headers,
    variables_of,
)
from mcp_notebook.errors import ServerConfigError
from mcp_notebook.redaction import redact
from mcp_notebook.workspace import Workspace

FIGMA = Server(name="figma", url="https://mcp.figma.com/mcp")
FILES = Server(
    name="files", transport="stdio", command=("npx", "-y", "x", "."), env={"L": "1"}, cwd="/tmp"
)
RICH = Server(
    name="rich",
    url="https://a.example/mcp",
    transport="sse",
    headers={"Authorization": "Bearer ${TOKEN}"},
    insecure=True,
    oauth=OAuthSettings(
        grant="client_credentials",
        client_id="id",
        client_secret_env="SECRET",
        auth_method="client_secret_post",
        authorize_params={"prompt": "consent"},
        callback_port=3118,
        trusted_issuers=("https://i.example/",),
        assume_s256=True,
        dpop=False,
        resource="off",
    ),
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "new" / "servers.json"


@pytest.fixture
def book(path):
    return ServerBook(path)


class TestBook:
    @pytest.mark.parametrize("server", [FIGMA, FILES, RICH], ids=lambda server: server.name)
    def test_what_was_written_down_is_read_back_whole(self, book, path, server):
        assert book.add(server) == "added"
        assert ServerBook(path).get(server.name) == server
        assert ServerBook(path).all() == [server]

    def test_the_book_is_in_the_home_unless_told(self, private_home):
        ServerBook().add(FIGMA)
        assert (private_home / "servers.json").exists()

    @pytest.mark.skipif(os.name == "nt", reason="modes are POSIX")
    def test_only_the_owner_may_read_the_file(self, book, path):
        book.add(FIGMA)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700

    def test_reading_writes_nothing(self, book, path):
        assert book.all() == []
        assert book.problems() == []
        assert not path.parent.exists()

    def test_another_address_does_not_take_a_known_name(self, book):
        book.add(FIGMA)
        other = Server(name="figma", url="https://evil.example/mcp")
        with pytest.raises(ServerConfigError, match="another server already") as caught:
            book.add(other)
        assert "%mcp remove figma" in caught.value.hint
        assert book.get("figma") == FIGMA
        assert book.add(other, replace=True) == "changed"
        assert book.get("figma") == other

    def test_another_program_does_not_take_a_known_name(self, book):
        book.add(FILES)
        with pytest.raises(ServerConfigError):
            book.add(Server(name="files", transport="stdio", command=("npx", "-y", "evil")))

    def test_a_line_that_runs_again_changes_only_settings(self, book):
        assert book.add(FIGMA) == "added"
        assert book.add(FIGMA) == "same"
        scoped = Server(name="figma", url=FIGMA.url, oauth=OAuthSettings(scope="read"))
        assert book.add(scoped) == "changed"
        assert book.get("figma").oauth.scope == "read"

    def test_an_unknown_name_is_told_with_the_nearest(self, book):
        book.add(FIGMA)
        with pytest.raises(ServerConfigError, match="did you mean 'figma'"):
            book.get("Figmaa")
        with pytest.raises(ServerConfigError) as caught:
            book.get("ghp_planted123")
        assert "planted" not in str(caught.value)

    def test_a_removed_server_is_gone_and_cannot_be_removed_twice(self, book):
        book.add(FIGMA)
        book.remove("figma")
        assert book.all() == []
        with pytest.raises(ServerConfigError):
            book.remove("figma")

    def test_what_cannot_be_written_down_is_not(self, book, path):
        for server in (
            Server(name="a b", url="https://a.example"),
            Server(name="a", url="http://a.example"),
            Server(name="a", transport="stdio"),
            Server(name="a", url="https://a.example", headers={"Authorization": "Bearer planted"}),
            Server(
                name="a", url="https://a.example", oauth=OAuthSettings(client_secret_env="no name")
            ),
            Server(name="a", url="https://a.example", oauth=OAuthSettings(callback_path="x y")),
        ):
            with pytest.raises(ServerConfigError):
                book.add(server)
        assert not path.exists()


class TestFile:
    def test_what_others_wrote_into_the_file_stays(self, book, path):
        path.parent.mkdir()
        path.write_text(
            json.dumps({"theme": "x", "mcpServers": {"b": {"url": "https://b.example", "new": 1}}})
        )
        book.add(FIGMA)
        document = json.loads(path.read_text())
        assert document["theme"] == "x"
        assert document["mcpServers"]["b"]["new"] == 1
        assert [server.name for server in book.all()] == ["b", "figma"]

    @pytest.mark.parametrize(
        "content", [b"{", b"[1]", b"\xff\xfe", b"[" * 100_000, b"nul" * 2_000_000]
    )
    def test_a_damaged_file_reads_as_empty_and_is_kept_aside(self, book, path, content):
        path.parent.mkdir()
        path.write_bytes(content)
        assert book.all() == []
        assert "damaged" in book.problems()[0]
        assert path.read_bytes() == content
        with pytest.raises(ServerConfigError) as caught:
            book.get("figma")
        assert "damaged" in caught.value.hint
        book.add(FIGMA)
        assert book.all() == [FIGMA]
        assert path.with_name("servers.json.bad").read_bytes() == content
        assert "servers.json.bad" in book.problems()[0]

    def test_a_second_damaged_file_does_not_displace_the_first(self, book, path):
        path.parent.mkdir()
        for content in ("{first", "{second"):
            path.write_text(content)
            book.add(FIGMA)
        kept = {item.read_text() for item in path.parent.glob("servers.json.bad*")}
        assert kept == {"{first", "{second"}

    @pytest.mark.parametrize(
        "entry",
        [
            3,
            {},
            {"type": "carrier-pigeon", "url": "https://a.example"},
            {"url": 3},
            {"command": "npx", "args": "x"},
            {"command": "npx", "env": {"A": 1}},
            {"url": "https://a.example", "oauth": {"grant": "magic"}},
            {"url": "https://a.example", "oauth": {"callback_port": True}},
            {"url": "https://a.example", "oauth": {"trusted_issuers": "https://i.example"}},
            {"url": "http://a.example"},
            {"url": "https://a.example", "headers": {"X-Token": "planted"}},
        ],
    )
    def test_an_entry_that_cannot_be_used_harms_no_other(self, book, path, entry):
        path.parent.mkdir()
        path.write_text(json.dumps({"mcpServers": {"bad": entry}}))
        book.add(FIGMA)
        assert book.all() == [FIGMA]
        assert any(problem.startswith("bad:") for problem in book.problems())
        with pytest.raises(ServerConfigError) as caught:
            book.get("bad")
        assert "planted" not in str(caught.value)

    def test_the_way_out_of_an_entry_that_cannot_be_used_works(self, private_home):
        private_home.mkdir(exist_ok=True)
        path = private_home / "servers.json"
        path.write_text('{"mcpServers": {"odd": 3, "figma": {"url": "https://mcp.figma.com/mcp"}}}')
        space = Workspace()
        with pytest.raises(ServerConfigError) as caught:
            space.connect("odd")
        assert caught.value.hint.endswith("%mcp remove odd")
        assert "no sign-in was revoked" in space.remove("odd")[0]
        assert [server.name for server in space.book.all()] == ["figma"]
        with pytest.raises(ServerConfigError, match="No server is called 'odd'"):
            space.remove("odd")

    def test_two_kernels_that_write_at_once_lose_nothing(self, book, path):
        program = (
            "import sys, pathlib\n"
            "from mcp_notebook.config.book import ServerBook\n"
            "from mcp_notebook.config.servers import Server\n"
            "book = ServerBook(pathlib.Path(sys.argv[1]))\n"
            "sys.stdin.readline()\n"
            "for i in range(15):\n"
            "    book.add(Server(name=f'{sys.argv[2]}{i}', url='https://a.example/mcp'))\n"
        )
        kernels = [
            subprocess.Popen([sys.executable, "-c", program, path, name], stdin=subprocess.PIPE)
            for name in "ab"
        ]
        for kernel in kernels:
            kernel.stdin.write(b"go\n")
            kernel.stdin.close()
        assert [kernel.wait(30) for kernel in kernels] == [0, 0]
        assert len(book.all()) == 30

    def test_a_lock_that_is_never_released_is_told(self, book, path, monkeypatch):
        monkeypatch.setattr(statefile, "_LOCK_SECONDS", 0.05)
        path.parent.mkdir()
        with FileLock(f"{path}.lock"), pytest.raises(ServerConfigError, match="Another kernel"):
            book.add(FIGMA)

    def test_a_place_that_cannot_be_written_is_told(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(ServerConfigError) as caught:
            ServerBook(tmp_path / "file" / "servers.json").add(FIGMA)
        assert "MCP_NOTEBOOK_HOME" in caught.value.hint


class TestExpand:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("plain", "plain"),
            ("Bearer ${A}", "Bearer one"),
            ("${env:A}-${A}", "one-one"),
            ("${B:-two}", "two"),
            ("${A:-two}", "one"),
            ("${EMPTY:-two}", "two"),
            ("${B:-}", ""),
            ("$A {A} $${A}", "$A {A} $one"),
            ("${EVIL}", "${A}"),
        ],
    )
    def test_references_are_filled_in_once(self, text, expected):
        assert expand(text, {"A": "one", "EMPTY": "", "EVIL": "${A}"}) == expected

    def test_a_missing_variable_is_told_by_its_name_only(self):
        with pytest.raises(ServerConfigError, match="MISSING") as caught:
            expand("${A} ${MISSING}", {"A": "planted"})
        assert "planted" not in str(caught.value)

    def test_a_value_no_header_can_carry_is_told_without_it(self):
        server = Server(name="a", url="https://a.example", headers={"X": "${A}", "Y": " v "})
        assert request_headers(server, {"A": "one\n"}) == {"X": "one", "Y": "v"}
        with pytest.raises(ServerConfigError) as caught:
            request_headers(server, {"A": "planted\r\nEvil: 1"})
        assert "planted" not in str(caught.value)
        assert caught.value.hint.endswith("A")

    def test_an_address_is_filled_in_so_that_a_value_stays_one_part_of_it(self):
        server = Server(name="a", url="https://a.example/s/${A}/mcp?key=${A}&team=${T:-x}")
        filled = address_of(server, {"A": " p/l?a#n&t "})
        assert filled == "https://a.example/s/p%2Fl%3Fa%23n%26t/mcp?key=p%2Fl%3Fa%23n%26t&team=x"
        assert variables_of(server) == ("A", "T")
        with pytest.raises(ServerConfigError, match="variable A is not set"):
            address_of(server, {})

    def test_a_key_in_the_path_stands_for_a_sign_in_and_one_in_the_query_beside_it(self):
        assert is_keyed(Server(name="a", url="https://a.example/s/${A}/mcp"))
        assert not is_keyed(Server(name="a", url="https://a.example/mcp?key=${A}"))

    def test_what_was_filled_in_is_taken_out_of_messages(self):
        expand("${A_KEY} ${HOME}", {"A_KEY": "pl4nted-value", "HOME": "/home/of/me2"})
        address_of(Server(name="a", url="https://a.example/${B}"), {"B": "it's/pl4nted"})
        told = redact(
            "no such key: pl4nted-value, GET /it%27s%2Fpl4nted, it's/pl4nted /home/of/me2"
        )
        assert told == "no such key: ***, GET /***, *** /home/of/me2"
