"""What a person sees and clicks: the card, the consent page and the results in JupyterLab."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.driving.lab import Lab, jupyterlab, missing
from tests.peers import serve_authority, serve_tools

QUICKSTART = Path(__file__).parents[2] / "notebooks" / "quickstart.ipynb"

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def lab(tmp_path_factory) -> Iterator[Lab]:
    lacking = missing()
    if lacking:
        if os.environ.get("CI") == "true":
            pytest.fail(lacking)
        pytest.skip(lacking)
    folder = tmp_path_factory.mktemp("lab")
    env = {"MCP_NOTEBOOK_HOME": str(folder / "home"), "MCP_NOTEBOOK_TOKEN_STORE": "memory"}
    with jupyterlab(folder, env=env) as running:
        yield running


@pytest.fixture
def notes() -> Iterator:
    with serve_authority() as authority, serve_tools(authority) as tools:
        yield tools


def cells_for(notes, *more: str) -> list[str]:
    lines = ["%load_ext mcp_notebook", f"%mcp add notes {notes.url} --replace"]
    return [*lines, "%mcp connect notes", *more]


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
    for secret in ("state=", "code=", "code_challenge", "access_token"):
        assert secret not in saved
    assert not [out for cell in json.loads(saved)["cells"] for out in cell.get("outputs", [])
                if out["output_type"] == "error"]  # fmt: skip
    nb.close()


def test_the_card_offers_a_real_link_and_finishes_itself(lab, notes):
    nb = lab.open("card.ipynb", cells_for(notes, "1 + 1"))
    for number in range(4):
        nb.run(number)
    assert nb.text(3) == "2"
    card = nb.output(2)
    link = card.get_by_role("link", name="Sign in")
    assert link.get_attribute("target") == "_blank"
    assert link.get_attribute("rel") == "noopener noreferrer"
    assert "min left" in card.inner_text()
    nb.follow(2)
    card.get_by_text("Connected").wait_for()
    assert card.get_by_role("link").count() == 0
    assert card.get_by_role("button").count() == 0
    nb.close()


def test_a_refused_consent_is_told_on_the_card_with_a_way_to_try_again(lab, notes):
    nb = lab.open("refused.ipynb", cells_for(notes))
    for number in range(3):
        nb.run(number)
    nb.follow(2, decision="Deny")
    card = nb.output(2)
    card.get_by_text("declined").wait_for()
    card.get_by_role("button", name="Try again").click()
    card.get_by_role("link", name="Sign in").wait_for()
    nb.follow(2)
    card.get_by_text("Connected").wait_for()
    nb.close()


def test_cancel_ends_the_sign_in_and_the_link_goes(lab, notes):
    nb = lab.open("cancel.ipynb", cells_for(notes))
    for number in range(3):
        nb.run(number)
    card = nb.output(2)
    card.get_by_role("link", name="Sign in").wait_for()
    card.get_by_role("button", name="Cancel").click()
    card.get_by_text("cancelled").wait_for()
    assert card.get_by_role("link").count() == 0
    assert "state=" not in nb.save()
    nb.close()


def test_the_address_is_pasted_where_the_browser_runs_elsewhere(lab, notes):
    from tests.peers import callback_url

    nb = lab.open("paste.ipynb", cells_for(notes))
    for number in range(3):
        nb.run(number)
    card = nb.output(2)
    link = card.get_by_role("link", name="Sign in").get_attribute("href")
    box = card.get_by_placeholder("Browser elsewhere?")
    box.fill("https://example.com/nothing")
    box.press("Enter")
    card.get_by_text("address").first.wait_for()
    box.fill(callback_url(link))
    box.press("Enter")
    card.get_by_text("Connected").wait_for()
    assert "code=" not in nb.save()
    nb.close()


def test_what_a_server_says_runs_no_script_in_the_page(lab, notes):
    evil = "<img src=x onerror='window.hacked = true'><script>window.hacked = true</script>"
    nb = lab.open("script.ipynb", cells_for(notes, f"notes.tools.echo(text={evil!r})"))
    for number in range(3):
        nb.run(number)
    nb.follow(2)
    nb.run(3)
    assert "<script>" in nb.output(3).inner_text()
    assert nb.page.evaluate("window.hacked === undefined")
    nb.close()
