"""What a person sees and clicks: the card, the consent page and the results in JupyterLab."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.driving.lab import Page
from tests.peers import callback_url, serve_authority, serve_tools

QUICKSTART = Path(__file__).parents[2] / "notebooks" / "quickstart.ipynb"
SECRETS = ("state=", "code=", "code_challenge", "access_token", "refresh_token")
FORGET = """\
from mcp_notebook.workspace import workspace
for name in list(workspace().sessions): workspace().remove(name)
"""

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def nb(lab) -> Iterator[Page]:
    """One notebook for many tests: each adds its cells at the end."""
    page = lab.open("cards.ipynb", ["%load_ext mcp_notebook"])
    page.run(0)
    yield page
    page.close()


@pytest.fixture
def authority() -> Iterator:
    with serve_authority() as server:
        yield server


@pytest.fixture
def notes(authority) -> Iterator:
    with serve_tools(authority) as tools:
        yield tools


def connect(nb: Page, server, name: str = "notes"):
    """Connects a server and returns the number of the cell that shows its card, and the card."""
    nb.add(f"%mcp add {name} {server.url} --replace")
    number = nb.add(f"%mcp connect {name}")
    return number, nb.output(number)


def sign_in(nb: Page, server, name: str = "notes") -> None:
    number, card = connect(nb, server, name)
    nb.follow(number)
    card.get_by_text("Connected").wait_for()


@pytest.fixture(autouse=True)
def _nothing_is_left(request) -> Iterator[None]:
    """After each test its servers are forgotten, and the saved notebook holds no secret."""
    yield
    if "nb" in request.fixturenames:
        page = request.getfixturevalue("nb")
        page.add(FORGET)
        saved = page.save()
        assert not [word for word in SECRETS if word in saved]


def test_the_quickstart_runs_to_its_end_with_one_person_clicking_once(lab):
    shutil.copy(QUICKSTART, lab.root / "quickstart.ipynb")
    cells = json.loads(QUICKSTART.read_text())["cells"]
    numbers = {"".join(cell["source"]): number for number, cell in enumerate(cells)}
    nb = lab.open("quickstart.ipynb")
    nb.run_all()
    connect = numbers["%mcp connect demo"]
    nb.output(connect).get_by_role("link", name="Sign in").wait_for(timeout=60_000)
    assert "close this" in nb.follow(connect).lower()
    nb.wait_for_idle()
    assert "Connected" in nb.output(connect).inner_text()
    assert nb.text(numbers["demo.tools.add(a=2, b=3).data"]) == "5"
    assert nb.output(numbers["demo.tools.table()"]).locator("table tr").count() > 10
    assert nb.output(numbers["demo.tools.picture()"]).locator("img").count() == 1
    saved = nb.save()
    assert "Hydrogen" in saved
    assert not [word for word in SECRETS if word in saved]
    assert not [out for cell in json.loads(saved)["cells"] for out in cell.get("outputs", [])
                if out["output_type"] == "error"]  # fmt: skip
    nb.close()


def test_the_card_offers_a_real_link_and_finishes_itself(nb, notes):
    number, card = connect(nb, notes)
    link = card.get_by_role("link", name="Sign in")
    assert link.get_attribute("target") == "_blank"
    assert link.get_attribute("rel") == "noopener noreferrer"
    assert "min left" in card.inner_text()
    assert nb.text(nb.add("1 + 1")) == "2"  # the notebook is alive meanwhile
    nb.follow(number)
    card.get_by_text("Connected").wait_for()
    assert card.get_by_role("link").count() == 0
    assert card.get_by_role("button").count() == 0


def test_a_refused_consent_is_told_on_the_card_with_a_way_to_try_again(nb, notes):
    number, card = connect(nb, notes)
    nb.follow(number, decision="Deny")
    card.get_by_text("declined").wait_for()
    assert card.get_by_role("link").count() == 0
    card.get_by_role("button", name="Try again").click()
    nb.follow(number)
    card.get_by_text("Connected").wait_for()


def test_cancel_ends_the_sign_in_and_the_link_goes(nb, notes):
    _, card = connect(nb, notes)
    card.get_by_role("link", name="Sign in").wait_for()
    card.get_by_role("button", name="Cancel").click()
    card.get_by_text("cancelled").wait_for()
    assert card.get_by_role("link").count() == 0
    card.get_by_role("button", name="Try again").wait_for()  # the row comes after the words
    assert card.get_by_role("button").all_inner_texts() == ["Try again"]


def test_a_card_that_nobody_answers_ends_by_itself(nb, notes):
    nb.add("import mcp_notebook.auth.sign_in as _s; _usual, _s.DEADLINE = _s.DEADLINE, 2")
    _, card = connect(nb, notes)
    card.get_by_text("Nobody finished the sign-in").wait_for()
    nb.add("_s.DEADLINE = _usual")
    assert card.get_by_role("link").count() == 0
    assert card.get_by_role("button").all_inner_texts() == ["Try again"]


def test_the_address_is_pasted_where_the_browser_runs_elsewhere(nb, notes):
    _, card = connect(nb, notes)
    link = card.get_by_role("link", name="Sign in").get_attribute("href")
    box = card.get_by_placeholder("Browser elsewhere?")
    box.fill("https://example.com/nothing")
    box.press("Enter")
    card.get_by_text("not the answer").wait_for()
    assert box.input_value() == ""
    box.fill(callback_url(link))
    box.press("Enter")
    card.get_by_text("Connected").wait_for()


def test_a_client_is_registered_again_only_where_it_may_be_forgotten(nb, authority, notes):
    number, card = connect(nb, notes)
    card.get_by_role("link", name="Sign in").wait_for()
    assert card.get_by_role("button", name="Register again").count() == 0  # it is new
    card.get_by_role("button", name="Cancel").click()
    card.get_by_role("button", name="Try again").click()
    card.get_by_role("button", name="Register again").click()
    authority.wait_for("/register", 2)
    card.get_by_role("link", name="Sign in").wait_for()
    card.get_by_role("button", name="Register again").wait_for(state="detached")
    nb.follow(number)
    card.get_by_text("Connected").wait_for()


def test_a_call_that_needs_more_permissions_shows_which_and_goes_on(nb, notes):
    sign_in(nb, notes)
    notes.knobs.step_up = {"add": "write:sums"}
    number = nb.add("notes.tools.add(a=2, b=3).data", wait=False)
    card = nb.output(number)
    card.get_by_text("asks for more permissions").wait_for()
    assert card.locator(".mcpnb-new").all_inner_texts() == ["write:sums"]
    nb.follow(number)
    nb.wait_for_idle()
    assert nb.text(number).endswith("5")


def test_two_sign_ins_stand_side_by_side_and_one_refusal_harms_only_itself(nb, notes):
    with serve_authority() as other_authority, serve_tools(other_authority) as other:
        first, first_card = connect(nb, notes)
        second, second_card = connect(nb, other, "other")
        nb.follow(second, decision="Deny")
        second_card.get_by_text("declined").wait_for()
        nb.follow(first)
        first_card.get_by_text("Connected").wait_for()
        assert nb.text(nb.add("notes.tools.echo(text='hi').data")) == "'hi'"


def test_what_a_server_says_runs_no_script_in_the_page(nb, notes):
    evil = "<img src=x onerror='window.hacked = true'><script>window.hacked = true</script>"
    sign_in(nb, notes)
    number = nb.add(f"notes.tools.echo(text={evil!r})")
    assert "<script>" in nb.output(number).inner_text()
    assert nb.page.evaluate("window.hacked === undefined")
