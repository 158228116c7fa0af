"""The whole way in a real kernel: add, connect, sign in, call, restart."""

from __future__ import annotations

import json

from tests.peers import serve_authority, serve_tools, visit


def test_a_person_adds_connects_signs_in_and_calls(start, notes, authority):
    nb = start(person=None)
    assert "Next: %mcp connect notes" in nb.run(f"%mcp add notes {notes.url}").text
    assert authority.seen == []
    assert notes.seen == []  # adding contacts nobody

    connected = nb.run("%mcp connect notes")
    assert not connected.error
    link = nb.wait_for_link()
    assert nb.value("notes.status") == "signing_in"
    assert nb.run("1 + 1").text == "2"  # the notebook is alive meanwhile

    call = nb.start("notes.tools.add(a=2, b=3).data")
    assert not call.done.wait(1.5)  # it waits for the person ...
    assert call.outputs  # ... and says so in its own cell
    visit(link)
    assert call.wait(20).text.splitlines()[-1] == "5"

    assert nb.value("notes.status") == "connected"
    assert nb.value("notes.sign_in") is None
    assert "hi" in nb.run('await notes.tools.echo.aio(text="hi")').text
    assert nb.value("list(notes.tools.table().to_frame().columns)")
    assert nb.value("len(notes.tools)") == nb.value("len(list(notes.tools))")
    nb.wait_for_face("Connected")
    assert nb.widgets
    assert "state=" not in nb.saved()


def test_the_link_is_an_attribute_of_the_sign_in_and_in_no_repr(start, notes):
    nb = start(person=None)
    nb.run(f"%mcp add notes {notes.url}")
    nb.run("%mcp connect notes")
    link = nb.wait_for_link()
    assert "state=" not in nb.run("notes, notes.sign_in").text
    assert link not in nb.run("notes.sign_in.standing()").text
    assert nb.value("notes.sign_in.url") == link


def test_a_session_opened_in_python_has_its_card_too(start, notes):
    nb = start(load=False)
    nb.run(f"import mcp_notebook\nmine = mcp_notebook.connect('notes', {notes.url!r})")
    assert nb.run("mine.tools.add(a=2, b=3).data", 30).text.splitlines()[-1] == "5"
    assert len(nb.links) == 1


def test_a_front_end_without_widgets_is_told_where_the_link_is(start, notes):
    nb = start(person=None)
    nb.run(f"%mcp add notes {notes.url}")
    nb.run("%mcp connect notes --as mine")
    link = nb.wait_for_link()
    shown = nb.run("mine").text  # what is shown in place of a card, as jupyter console does
    assert "print(mine.sign_in.url)" in shown
    assert len(shown) < 110  # ipywidgets cuts the rest
    assert nb.run("print(mine.sign_in.url)").text.strip() == link


def test_a_demo_that_has_ended_tells_how_to_start_it(start):
    nb = start()
    for _ in range(2):
        assert "Start it with: %mcp demo" in nb.run("%mcp connect demo").error
        nb.run("%mcp demo\n%mcp connect demo")
        assert nb.value("demo.wait(30).status") == "connected"
        nb.run("%mcp demo stop\n%mcp disconnect demo")


def test_two_kernels_share_a_demo_and_its_sign_in(start):
    first, second = start(), start()
    address = first.run("%mcp demo\n%mcp connect demo") and first.value("demo.wait(30).url")
    again = second.run("%mcp demo")
    assert address in again.text
    assert "Another kernel has started it" in again.text
    assert "Another kernel" in second.run("%mcp demo stop").text
    second.run("%mcp connect demo")
    assert second.value("demo.tools.element('Fe')['name']") == "Iron"
    assert first.value("demo.tools.element('Fe')['name']") == "Iron"
    assert (len(first.links), len(second.links)) == (1, 0)

    first.run("%mcp demo stop")
    assert "does not run" in second.run("%mcp demo stop").text
    assert "Another kernel" not in second.run("%mcp demo\n%mcp connect demo").text
    assert second.value("demo.tools.element('Fe')['name']") == "Iron"


def test_a_restarted_kernel_needs_no_sign_in(start, notes, authority):
    nb = start()
    nb.run(f"%mcp add notes {notes.url}")
    nb.run("%mcp connect notes")
    assert nb.value("notes.wait(30).status") == "connected"
    assert authority.count("/authorize") > 0
    authority.forget_seen()

    nb.restart()
    nb.run("%load_ext mcp_notebook")
    nb.run("%mcp connect notes")
    assert nb.value("notes.tools.add(a=2, b=3).data") == 5
    assert authority.seen == []  # no card, no browser, not even a request
    assert len(nb.links) == 1


def test_a_fresh_kernel_renews_an_expired_token_with_one_request(start, notes, authority):
    authority.knobs.token_lifetime = 1
    nb = start()
    nb.run(f"%mcp add notes {notes.url}")
    nb.run("%mcp connect notes")
    assert nb.value("notes.wait(30).status") == "connected"
    authority.knobs.token_lifetime = 3600
    authority.expire_access()
    authority.forget_seen()

    other = start()
    other.run("%mcp connect notes")
    assert other.value("notes.tools.add(a=2, b=3).data") == 5
    assert authority.counts() == {"/token": 1}
    assert other.links == []


def test_a_refused_consent_is_told_plainly_and_can_be_tried_again(start, notes):
    nb = start(person=lambda link: visit(link, decision="deny"))
    nb.run(f"%mcp add notes {notes.url}")
    nb.run("%mcp connect notes")
    nb.wait_for_link()
    call = nb.run("notes.tools.add(a=2, b=3)")
    assert "SignInDeniedError" in call.error
    assert "→" in call.error
    assert nb.value("notes.status") == "failed"
    nb.person = visit
    nb.run("%mcp connect notes")
    assert nb.value("notes.tools.add(a=2, b=3).data") == 5


def test_two_servers_sign_in_at_once_and_a_refusal_harms_only_its_own(start, authority, notes):
    with serve_authority() as other_authority, serve_tools(other_authority) as other:
        refused = other_authority.issuer

        def person(link: str) -> None:
            visit(link, decision="deny" if link.startswith(refused) else "approve")

        nb = start(person=person)
        nb.run(f"%mcp add notes {notes.url}\n".strip())
        nb.run(f"%mcp add other {other.url}")
        both = nb.run(
            "import mcp_notebook\na = mcp_notebook.connect('notes')\n"
            "b = mcp_notebook.connect('other')"
        )
        assert not both.error
        assert nb.value("a.tools.add(a=2, b=3).data") == 5
        assert "SignInDeniedError" in nb.run("b.tools.add(a=2, b=3)").error
        assert nb.value("a.tools.add(a=4, b=3).data") == 7
        assert len(nb.links) == 2


def test_stop_while_waiting_for_the_sign_in_leaves_it_going(start, notes):
    nb = start(person=None)
    nb.run(f"%mcp add notes {notes.url}")
    nb.run("%mcp connect notes")
    link = nb.wait_for_link()
    call = nb.start("notes.tools.add(a=2, b=3)")
    assert call.shown.wait(10)
    nb.interrupt()
    assert "KeyboardInterrupt" in call.wait(5).error
    assert nb.value("notes.status") == "signing_in"
    visit(link)
    assert nb.value("notes.tools.add(a=2, b=3).data") == 5


def test_stop_reaches_an_awaiting_cell_and_the_session_lives(start, notes):
    nb = start()
    nb.run(f"%mcp add notes {notes.url}")
    nb.run("%mcp connect notes")
    assert nb.value("notes.wait(30).status") == "connected"
    call = nb.start("await notes.tools.slow.aio(seconds=30)")
    notes.wait_for_tool("slow")
    nb.interrupt()
    assert call.wait(5).error
    assert nb.value("notes.tools.add(a=2, b=3).data") == 5


def test_disconnecting_keeps_the_sign_in_and_signing_out_does_not(start, notes, authority):
    nb = start()
    nb.run(f"%mcp add notes {notes.url}")
    nb.run("%mcp connect notes --as n")
    assert nb.value("n.wait(30).name") == "n"
    nb.run("n.disconnect()")
    assert nb.value("n.status") == "disconnected"
    nb.run("%mcp connect notes --as n")
    assert nb.value("n.wait(30).status") == "connected"
    assert len(nb.links) == 1
    assert "revoked" in nb.run("%mcp sign-out n").text
    assert authority.count("/revoke") >= 1
    nb.run("%mcp connect notes --as n")
    assert nb.value("n.wait(30).status") == "connected"
    assert len(nb.links) == 2


def test_an_account_of_its_own_is_remembered_and_removed_with_its_server(start, notes, authority):
    nb = start()
    nb.run(f"%mcp add notes {notes.url}")
    nb.run("%mcp connect notes")
    nb.run("%mcp connect notes --as work")
    assert nb.value("[notes.wait(30).name, work.wait(30).name]") == ["notes", "work"]
    assert len(nb.links) == 2  # each has a sign-in of its own
    nb.run(f"%mcp add other {notes.url.replace('127.0.0.1', 'localhost')}")
    assert "ServerConfigError" in nb.run("%mcp connect other --as work").error

    nb.restart()
    nb.run("%load_ext mcp_notebook")
    nb.run("%mcp connect work")
    assert nb.value("work.wait(30).tools.add(a=2, b=3).data") == 5
    assert len(nb.links) == 2
    authority.forget_seen()
    removed = nb.run("%mcp remove notes").text
    assert removed.count("revoked") == 4
    assert "Its account work is forgotten too." in removed
    assert "ServerConfigError" in nb.run("%mcp connect work").error


def test_what_an_account_is_told_to_add_is_its_server(start, notes, authority):
    authority.knobs.no_registration = True
    nb = start(person=None)
    nb.run(f"%mcp add notes {notes.url}")
    nb.run("%mcp connect notes --as work")
    told = nb.run("work.wait()").error
    assert f"%mcp add notes {notes.url} --client-id" in told
    nb.restart()
    nb.run("%load_ext mcp_notebook")
    nb.run("%mcp connect work")
    assert f"%mcp add notes {notes.url} --client-id" in nb.run("work.wait()").error


def test_an_unattended_notebook_fails_soon_and_says_how_to_go_on(start, notes):
    nb = start(person=None)
    nb.run(f"%mcp add notes {notes.url}")
    nb.run("%mcp connect notes", allow_stdin=False)
    nb.wait_for_link()
    call = nb.run("notes.tools.add(a=2, b=3)", 20, allow_stdin=False)
    assert "SignInNeededError" in call.error
    assert "→" in call.error


def test_a_dashboard_without_input_waits_for_whoever_clicks_the_card(start, notes):
    nb = start(person=None)
    nb.run(f"%mcp add notes {notes.url}")
    nb.run("%mcp connect notes", allow_stdin=False)
    call = nb.start("print(notes.tools.add(a=2, b=3).data)", allow_stdin=False)
    visit(nb.wait_for_link())
    assert call.wait(20).text.splitlines()[-1] == "5"


def test_the_address_can_be_pasted_where_the_browser_is_elsewhere(start, notes):
    from tests.peers import callback_url

    nb = start(person=None)
    nb.run(f"%mcp add notes {notes.url}")
    nb.run("%mcp connect notes")
    address = callback_url(nb.wait_for_link())
    nb.answers = lambda prompt, masked: address.replace("state=", "state=x")
    assert "SignInError" in nb.run("%mcp sign-in notes --paste").error
    assert nb.value("notes.status") == "signing_in"
    nb.answers = lambda prompt, masked: address if masked else ""
    assert not nb.run("%mcp sign-in notes --paste").error
    assert "code=" not in nb.saved()
    assert nb.value("notes.tools.add(a=2, b=3).data") == 5


def test_loading_twice_and_unloading_leave_one_magic_and_one_thread(start):
    nb = start()
    nb.run("%mcp")
    nb.run("%reload_ext mcp_notebook")
    nb.run("%load_ext mcp_notebook")
    nb.run("%mcp")
    count = nb.value("[t.name for t in __import__('threading').enumerate()].count('mcp-notebook')")
    assert count <= 1
    nb.run("%unload_ext mcp_notebook")
    assert "not found" in nb.run("%mcp").text


def test_nothing_secret_is_in_what_a_notebook_saves(start, notes, authority):
    nb = start()
    nb.run(f"%mcp add notes {notes.url}")
    nb.run("%mcp connect notes")
    nb.run("notes.tools.table()")
    for line in ("%mcp", "%mcp status", "%mcp doctor notes", "%mcp tools notes", "notes"):
        assert not nb.run(line).error
    nb.run("vars(notes), vars(notes.connection), notes.tools, notes.tools.add, notes.sign_in")
    nb.run("notes.tools.fail()")
    nb.run("%history -g")
    nb.wait_for_face("Connected")
    saved = nb.saved()
    links = nb.links
    assert links
    for secret in authority.tokens:
        assert secret not in saved
    for private in ("state=", "code=", "code_challenge="):
        assert private not in saved


def test_a_call_from_another_thread_works_too(start, notes):
    nb = start()
    nb.run(f"%mcp add notes {notes.url}")
    nb.run("%mcp connect notes")
    assert nb.value("notes.wait(30).status") == "connected"
    code = (
        "from concurrent.futures import ThreadPoolExecutor\n"
        "with ThreadPoolExecutor(8) as pool:\n"
        "    sums = list(pool.map(lambda n: notes.tools.add(a=n, b=1).data, range(20)))"
    )
    assert not nb.run(code).error
    assert nb.value("sums") == list(range(1, 21))


def test_a_client_secret_is_asked_for_masked_and_shown_nowhere(start, notes, authority):
    authority.add_client("corp", secret="S3CRET-typed", method="client_secret_basic")
    prompts = []

    def answer(prompt: str, masked: bool) -> str:
        prompts.append((prompt, masked))
        return "S3CRET-typed"

    nb = start(answers=answer)
    refused = nb.run(f"%mcp add notes {notes.url} --client-id corp --client-secret=S3CRET-other")
    assert "CommandError" in refused.error
    assert "S3CRET" not in refused.error
    assert not nb.run(f"%mcp add notes {notes.url} --client-id corp --client-secret").error
    assert [masked for _, masked in prompts] == [True]
    nb.run("%mcp connect notes")
    assert nb.value("notes.tools.add(a=2, b=3).data") == 5
    assert authority.count("/register") == 0
    nb.run("%mcp doctor notes")
    assert "S3CRET-typed" not in nb.saved() + nb.log()


def test_all_servers_of_another_client_are_taken_but_those_in_the_way(start, tmp_path):
    path = tmp_path / "mcp.json"
    entries = {
        "notes": {"url": "https://notes.example.com/mcp"},
        "keyed": {"url": "https://k.example.com/mcp", "headers": {"X-Api-Key": "planted"}},
        "odd": {"command": 3},
        "editor": {"command": "x", "env": {"KEY": "${input:the key}"}},
    }
    path.write_text(json.dumps({"servers": entries}))
    nb = start()
    nb.run("%mcp add notes https://elsewhere.example.com/mcp")
    nb.run(f"%mcp add keyed {entries['keyed']['url']}")
    shown = nb.run(f"%mcp import {path}").text
    assert "Nothing was taken" in shown
    assert "ServerConfigError" in nb.run(f"%mcp import {path} editor odd").error
    assert "editor" not in nb.run("%mcp").text
    taken = nb.run(f"%mcp import {path} --all").text
    assert "notes was left out: 'notes' is another server already" in taken
    assert "odd was left out: It has neither" in taken
    assert "set the environment variable KEYED_X_API_KEY" in taken
    assert "the editor asks for 'the key': here it is the environment variable THE_KEY" in taken
    assert "KEYED_X_API_KEY is not set" in nb.run("%mcp connect keyed\nkeyed.wait(9)").error
    assert "planted" not in nb.saved()
