"""How it looks, for everybody: in both themes, in a narrow window, without a mouse, offline."""

from __future__ import annotations

import base64
import io
import wave
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from mcp_types import (
    AudioContent,
    BlobResourceContents,
    CallToolResult,
    ContentBlock,
    EmbeddedResource,
    ImageContent,
    ResourceLink,
    TextContent,
    TextResourceContents,
    ToolAnnotations,
)

from mcp_notebook.demo.png import png
from tests.asking import add_tools
from tests.driving.lab import Page
from tests.peers import serve_authority, serve_tools

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

AA = 4.5
"""The contrast of text and its background that WCAG 2.2 asks for (1.4.3, level AA)."""

NARROW = 600


def _recording() -> str:
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(1600))
    return base64.b64encode(file.getvalue()).decode()


def _picture(width: int, height: int) -> ImageContent:
    data = png([b"\x20\x80\x40" * width] * height, width=width)
    return ImageContent(type="image", data=base64.b64encode(data).decode(), mime_type="image/png")


def _text(text: str) -> TextContent:
    return TextContent(type="text", text=text)


WORDS = "Some words about grapes and vines, and about those who grow them. " * 4
EVIL = "<img src=https://elsewhere.example/x onerror='window.hacked = 1'><script>hacked=1</script>"
RECORDS = [
    {"id": 7 * n, "name": f"note {n}", "kept": n % 2 == 0, "text": WORDS, "score": None}
    for n in range(4)
]
ANSWERS: dict[str, tuple[list[ContentBlock], dict | None]] = {
    "text": ([_text(WORDS)], None),
    "number": ([_text("42")], None),
    "tree": ([], {"id": 1, "tags": ["a"] * 30, "by": {"name": "Ada", "mail": None}, "text": WORDS}),
    "table": ([], {"notes": RECORDS, "total": 4}),
    "wide table": ([], {"rows": [{f"column {n}": n * 1.5 for n in range(30)}] * 30}),
    "picture": ([_picture(300, 100)], None),
    "pictures": ([_picture(900, 300)] * 3, None),
    "sound": ([AudioContent(type="audio", data=_recording(), mime_type="audio/wav")], None),
    "link": (
        [
            ResourceLink(type="resource_link", name="all", uri="https://example.com/a", size=2048),
            ResourceLink(type="resource_link", name="one", uri="notes://1", description=WORDS),
        ],
        None,
    ),
    "resource": (
        [
            EmbeddedResource(
                type="resource",
                resource=TextResourceContents(uri="notes://1", mime_type="text/plain", text=WORDS),
            ),
            EmbeddedResource(
                type="resource", resource=BlobResourceContents(uri="notes://2.zip", blob="UEsDBA==")
            ),
        ],
        None,
    ),
    "nothing": ([], None),
    "cut": ([_text("word " * 20_000)], None),
    "not a picture": ([ImageContent(type="image", data="AAAA", mime_type="image/png")], None),
    "evil": (
        [_text(EVIL), _text(f"# {EVIL}\n\n![x](https://elsewhere.example/y)")],
        {EVIL: [EVIL]},
    ),
}
SHOWN = {
    **{f"the answer: {kind}": f"shop.tools.say(kind={kind!r})" for kind in ANSWERS},
    "an answer as Markdown": "shop.tools.say(kind='evil').markdown()",
    "the tools": "shop.tools",
    "one tool": "shop.tools.order",
    "the resources": "shop.resources",
    "the prompts": "shop.prompts",
    "a batch with failures": "shop.tools.say.map(['text', 'number', 'no such kind'])",
    "the servers": "%mcp",
    "the doctor": "%mcp doctor shop",
    "a program": "%mcp add files --replace -- bash -c 'curl https://x.example'",
    "the help": "%mcp help",
}


def say(kind: str) -> CallToolResult:
    content, structured = ANSWERS[kind]
    return CallToolResult(content=content, structured_content=structured)


@pytest.fixture(scope="module")
def shop() -> Iterator:
    with serve_authority() as authority, serve_tools(authority) as tools:
        add_tools(tools)
        tools.mcp.add_tool(say, annotations=ToolAnnotations(read_only_hint=True))
        yield tools


@pytest.fixture(scope="module")
def requests() -> list[str]:
    """The addresses that the page has loaded."""
    return []


@pytest.fixture(scope="module")
def nb(lab, shop, requests) -> Iterator[Page]:
    """A notebook that is signed in; each test adds its cells at the end."""
    page = lab.open("looks.ipynb", ["%load_ext mcp_notebook"])
    page.page.on("request", lambda request: requests.append(request.url))
    page.run(0)
    page.add(f"%mcp add shop {shop.url}")
    page.sign_in(page.add("%mcp connect shop"))
    yield page
    page.close()


def look(nb: Page, number: int) -> None:
    """Checks that all of a cell's outputs can be read, whatever the theme and the width."""
    for dark in (True, False):
        nb.theme(dark=dark)
        contrasts = nb.contrasts(number)
        assert contrasts, "nothing is shown"
        assert not {text: ratio for text, ratio in contrasts.items() if ratio < AA}
    with nb.narrow(NARROW):
        assert not nb.scrolls_sideways(number)  # tables and listings do, within themselves


@pytest.mark.parametrize("what", SHOWN)
def test_it_can_be_read_in_the_light_in_the_dark_and_in_a_narrow_window(nb, what):
    look(nb, nb.add(SHOWN[what]))


def test_every_picture_is_really_shown(nb):
    number = nb.add(SHOWN["the answer: pictures"])
    pictures = nb.output(number).locator("img")
    assert pictures.count() == 3
    for picture in pictures.all():
        picture.scroll_into_view_if_needed()
        assert picture.evaluate("shown => shown.complete && shown.naturalWidth") == 900
        box = picture.bounding_box()
        assert box["width"] / box["height"] == pytest.approx(3, rel=0.05)
    first, second, third = (picture.bounding_box() for picture in pictures.all())
    assert first["y"] == second["y"] < third["y"]  # side by side, as many as there is room for


def test_a_recording_can_be_played(nb):
    number = nb.add(SHOWN["the answer: sound"])
    player = nb.output(number).locator("audio")
    assert player.get_attribute("aria-label") == "Recording 1"
    nb.page.wait_for_function("player => player.duration > 0.09", arg=player.element_handle())


def test_numbers_stand_to_the_right_and_words_to_the_left(nb):
    number = nb.add(SHOWN["the answer: table"])
    aligned = (
        nb.output(number)
        .locator("tbody tr")
        .first.locator("td")
        .evaluate_all("cells => cells.map(cell => getComputedStyle(cell).textAlign)")
    )
    assert aligned[:2] == ["right", "left"]


def test_a_tree_folds_by_keyboard(nb):
    number = nb.add(SHOWN["the answer: tree"])
    tree = nb.output(number).locator("details").first
    assert tree.evaluate("tree => tree.open")
    nb.tab_to(tree.locator("summary").first)
    nb.page.keyboard.press("Enter")
    assert not tree.evaluate("tree => tree.open")


def test_nothing_of_a_server_runs_or_is_loaded_from_elsewhere(nb, requests):
    for what in ("the answer: evil", "an answer as Markdown", "the tools"):
        nb.add(SHOWN[what])
    assert nb.page.evaluate("typeof window.hacked") == "undefined"
    elsewhere = {
        urlsplit(url).hostname for url in requests if not url.startswith(("data:", "blob:"))
    }
    assert elsewhere == {"127.0.0.1"}


# -- what is filled in and clicked ------------------------------------------------------------


def test_the_form_is_filled_in_by_keyboard_alone(nb):
    number = nb.add("answer = await shop.tools.order.aio()", wait=False)
    form, keys = nb.output(number), nb.page.keyboard
    form.get_by_role("button", name="Send").wait_for()
    nb.tab_to(form.get_by_role("textbox", name="Your name"))
    keys.press("Control+A")
    keys.type("Grace")
    nb.tab_to(form.get_by_role("textbox", name="Count"))
    keys.press("Control+A")
    keys.type("12")
    nb.tab_to(form.get_by_role("button", name="red"))
    keys.press("Enter")
    nb.tab_to(form.get_by_role("button", name="yes").last)
    keys.press("Space")
    nb.tab_to(form.get_by_role("button", name="Send"))
    keys.press("Enter")
    form.get_by_role("alert").get_by_text("Count").wait_for()
    wrong = form.get_by_role("textbox", name="Count")
    nb.page.wait_for_function(
        "wrong => wrong === document.activeElement", arg=wrong.element_handle()
    )
    keys.press("Control+A")
    keys.type("5")
    nb.tab_to(form.get_by_role("button", name="Send"))
    keys.press("Enter")
    nb.wait_for_idle()
    nb.add("import json; given = json.loads(answer.text)")
    names = "('name', 'count', 'colour', 'gift', 'confirmed')"
    assert (
        nb.text(nb.add(f"[given[name] for name in {names}]")) == "['Grace', 5, 'red', False, True]"
    )
    assert "Grace" not in nb.text(number)


def test_a_question_can_be_read(nb):
    number = nb.add("await shop.tools.order.aio()", wait=False)
    decline = nb.output(number).get_by_role("button", name="Decline")
    decline.wait_for()
    look(nb, number)
    decline.click()
    nb.wait_for_idle()


def test_a_page_to_open_can_be_read(nb):
    with serve_tools(unguarded=True, legacy=True) as tools:
        add_tools(tools)
        nb.add(f"%mcp add bank {tools.url}\n%mcp connect bank\nbank.wait()")
        number = nb.add("await bank.tools.visit.aio()", wait=False)
        form = nb.output(number)
        form.get_by_role("link", name="https://pay.example.com/x?order=7").wait_for()
        look(nb, number)
        form.get_by_role("button", name="Decline").click()
        nb.wait_for_idle()
        nb.add("bank.disconnect()")


def test_the_card_can_be_read_and_worked_by_keyboard_and_does_not_jump(nb, shop):
    nb.add(f"%mcp add other {shop.url} --replace")
    number = nb.add("%mcp connect other")
    card = nb.output(number)
    link = card.get_by_role("link", name="Sign in")
    link.wait_for()
    look(nb, number)
    nb.tab_to(link)
    assert link.evaluate("link => getComputedStyle(link).outlineStyle") == "solid"
    place = link.bounding_box()
    nb.tab_to(card.get_by_role("textbox", name="The address of the page"))
    nb.page.keyboard.type("https://example.com/nothing")
    nb.page.keyboard.press("Enter")
    card.get_by_role("alert").get_by_text("not the answer").wait_for()
    assert link.bounding_box() == place  # what is told comes below what is clicked
    nb.tab_to(card.get_by_role("button", name="Cancel"))
    nb.page.keyboard.press("Enter")
    card.get_by_role("status").get_by_text("cancelled").wait_for()
    look(nb, number)


def test_a_bar_can_be_read_and_goes_when_the_work_is_done(nb):
    number = nb.add("shop.tools.slow(seconds=60, steps=60)", wait=False)
    bar = nb.output(number)
    bar.get_by_text("of 60").wait_for()
    look(nb, number)
    nb.interrupt()
    bar.get_by_text("stopped while waiting for shop · slow").wait_for()
    bar.get_by_text("of 60").wait_for(state="hidden")
