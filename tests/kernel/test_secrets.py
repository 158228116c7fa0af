"""Nothing secret is anywhere but in the store: outputs, widgets, logs, history, files, frames."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.peers import serve_tools

LOG_EVERYTHING = """
import logging
logging.basicConfig(filename={path!r}, level=logging.DEBUG, force=True)
"""


def secrets_of(authority, links: list[str]) -> set[str]:
    """Returns every secret that was in play: tokens, codes, verifiers, states."""
    found = set(authority.tokens)
    for request in authority.seen:
        for name in ("code", "code_verifier", "refresh_token", "client_secret", "state"):
            for values in (request.form, request.query):
                value = values.get(name)
                found.update([value] if isinstance(value, str) else value or [])
    for link in links:
        found.update(parse_qs(urlsplit(link).query)["state"])
    return {secret for secret in found if len(secret) >= 8}


def files_below(folder: Path) -> dict[str, bytes]:
    """Returns the content of every file outside the token store."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "tokens" not in path.relative_to(folder).parts
    }


def test_a_working_day_leaves_no_secret_behind(start, notes, authority, tmp_path):
    authority.knobs.token_lifetime = 3600
    nb = start(load=False, env={"PYTHONASYNCIODEBUG": "1"})
    log = tmp_path / "debug.log"
    nb.run(LOG_EVERYTHING.format(path=str(log)))
    nb.run("%xmode Verbose")
    nb.run("%load_ext mcp_notebook")
    nb.run(f"%mcp add notes {notes.url}")
    nb.run("%mcp connect notes")
    assert nb.value("notes.tools.add(a=2, b=3).data") == 5
    authority.expire_access()
    assert nb.value("notes.tools.add(a=2, b=3).data") == 5  # renewed
    authority.fail_next(9, 503, path="/token")
    authority.expire_access()
    assert nb.run("notes.tools.add(a=2, b=3)").error  # cannot be renewed at present
    authority.heal()
    nb.run("notes.tools.fail()")
    nb.run("1 / 0")
    for line in ("notes", "%mcp", "%mcp doctor notes", "%mcp status", "%whos", "%store notes"):
        nb.run(line)
    nb.run("vars(notes), vars(notes.connection), vars(notes.connection.credentials)")
    nb.run("import asyncio as _a, copy; copy.deepcopy(notes.tools)")
    nb.run("%mcp sign-out notes")
    secrets = secrets_of(authority, nb.links)
    assert len(secrets) > 6
    nb.run("%history -g -f " + str(tmp_path / "history.txt"))

    places = {"the notebook": nb.saved().encode(), "the kernel's log": nb.log().encode()}
    places |= files_below(tmp_path)
    assert any("history" in name for name in places)
    assert log.stat().st_size > 1000
    leaks = {
        f"{secret[:4]}… in {name}"
        for name, content in places.items()
        for secret in secrets
        if secret.encode() in content
    }
    assert leaks == set()


def test_no_object_of_a_session_can_be_pickled(start, notes):
    nb = start()
    nb.run(f"%mcp add notes {notes.url}")
    nb.run("%mcp connect notes")
    assert nb.value("notes.wait(30).status") == "connected"
    nb.run("import pickle")
    for what in ("notes", "notes.tools.add", "notes.connection.credentials"):
        assert "TypeError" in nb.run(f"pickle.dumps({what})").error


@pytest.mark.parametrize("transport", ["modern", "legacy"])
def test_a_key_in_address_or_header_is_known_by_its_variable_alone(start, tmp_path, transport):
    key = "pl4nted/k3y+of=the-address"
    log = tmp_path / "debug.log"
    with serve_tools(unguarded=True, legacy=transport == "legacy") as tools:
        nb = start(load=False, env={"NOTES_KEY": key, "PYTHONASYNCIODEBUG": "1"})
        nb.run(LOG_EVERYTHING.format(path=str(log)))
        nb.run("%load_ext mcp_notebook")
        line = f"{tools.url}?api_key=${{NOTES_KEY}} --header X-Api-Key=${{NOTES_KEY}}"
        added = nb.run(f"%mcp add notes {line}").text
        assert "is sent what NOTES_KEY holds here" in added
        odd = "%mcp add odd https://odd.example/mcp/123e4567-e89b-12d3-a456-426614174000"
        assert "If 123e… in the address of odd is a key" in nb.run(odd).text
        nb.run("%mcp connect notes")
        assert nb.value("notes.tools.add(a=2, b=3).data") == 5
        for line in ("notes", "%mcp", "notes.url", "vars(notes.connection)"):
            assert not nb.run(line).error
        assert "answers without a sign-in" in nb.run("%mcp doctor notes").text
        assert {seen.query.get("api_key") for seen in tools.seen} == {key}
        assert {seen.headers.get("x-api-key") for seen in tools.seen} == {key}
        tools.fail_next(9, 400, body=f"no such key: {key}".encode())
        assert "no such key: ***" in nb.run("notes.tools.add(a=2, b=3)").error
        nb.run("notes.tools.add.map([{'a': 1, 'b': 2}], cache=True)")
        nb.run("%history -g -f " + str(tmp_path / "history.txt"))
    assert "HTTP Request: POST" in log.read_text()
    places = {"the notebook": nb.saved().encode(), "the kernel's log": nb.log().encode()}
    places |= files_below(tmp_path)
    sessions = {seen.headers.get("mcp-session-id", "").encode() for seen in tools.seen} - {b""}
    assert bool(sessions) == (transport == "legacy")
    parts = {b"pl4nted", b"k3y%2Bof", b"k3y+of"} | sessions
    leaks = {name for name, content in places.items() for part in parts if part in content}
    assert leaks == set()


WITH_LOCALS = """
import traceback
try:
    get_ipython().run_line_magic('mcp', {line!r})
except Exception as met:
    shown = traceback.TracebackException.from_exception(met, capture_locals=True)
    print(*shown.format())
    print(repr(met.__context__), repr(met.__cause__))
    raise RuntimeError('a program of the person, which wraps what it meets') from met
"""


def test_a_pasted_address_is_in_no_traceback_that_shows_locals(start, notes):
    address = "http://127.0.0.1:1/callback?code=pl4nted-c0de&state=pl4nted-st4te"
    nb = start(person=None, answers=lambda prompt, masked: address)
    nb.run(f"%mcp add notes {notes.url}")
    nb.run("%mcp connect notes")
    nb.wait_for_link()
    nb.run("%xmode Verbose")
    cell = nb.run(WITH_LOCALS.format(line="sign-in notes --paste"))
    for told in (cell.text, cell.error):
        assert "is not the answer" in told
        assert "pl4nted" not in told
    assert "pl4nted" not in nb.run("%tb").error


def test_a_typed_client_secret_is_in_no_traceback_that_shows_locals(start, notes, tmp_path):
    nb = start(answers=lambda prompt, masked: "pl4nted-secret")
    nb.run("%xmode Verbose")
    tmp_path.joinpath("home", "servers.json").mkdir(parents=True)  # so it cannot be written
    line = f"add notes {notes.url} --client-id me --client-secret"
    cell = nb.run(WITH_LOCALS.format(line=line))
    for told in (cell.text, cell.error):
        assert "could not be" in told
        assert "pl4nted" not in told
