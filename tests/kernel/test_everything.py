"""A server nobody here wrote, over each transport: every tool it has, from a real kernel."""

from __future__ import annotations

import json
import re
import shlex
import time

import pytest

from tests.driving.kernel import Notebook
from tests.peers.examples import program, serve_everything

# An installation has clocks of its own.
pytestmark = pytest.mark.timeout(90, func_only=True)

TOOLS = """
echo get-annotated-message get-env get-resource-links get-resource-reference get-structured-content
get-sum get-tiny-image gzip-file-as-resource simulate-research-query toggle-simulated-logging
toggle-subscriber-updates trigger-elicitation-request trigger-long-running-operation
trigger-url-elicitation
"""


@pytest.fixture(scope="module", params=["stdio", "streamableHttp", "sse"])
def nb(request, tmp_path_factory):
    """A kernel that is connected to the server, over one transport after the other."""
    home = tmp_path_factory.mktemp("home")
    book = Notebook(env={"MCP_NOTEBOOK_HOME": str(home), "MCP_NOTEBOOK_TOKEN_STORE": "memory"})
    try:
        book.run("%load_ext mcp_notebook\nimport mcp_notebook")
        if request.param == "stdio":
            command = shlex.join([*program("server-everything"), "stdio"])
            added = book.run(f"%mcp add everything -- {command}")
            assert command in added.text
            assert not book.run("%mcp trust everything").error
            yield _connected(book)
        else:
            with serve_everything(request.param) as url:
                old = "--transport sse" if request.param == "sse" else ""
                book.run(f"%mcp add everything {url} {old}")
                yield _connected(book)
    finally:
        book.close()


def _connected(book: Notebook) -> Notebook:
    book.run("%mcp connect everything")
    assert book.value("everything.wait(20).status") == "connected"
    return book


@pytest.fixture
def asked(nb):
    """A person who answers what they know and presses Enter otherwise; what they were asked."""
    prompts = []
    known = {
        "String: ": "Ada",
        "String with email": "a@b.org",
        "Boolean": "y",
        "Titled Multiple": "1, 3",
    }

    def answer(prompt: str, masked: bool) -> str:
        prompts.append(prompt)
        return next((text for start, text in known.items() if prompt.startswith(start)), "")

    nb.answers = answer
    yield prompts
    nb.answers = None


def test_all_its_tools_are_there_and_none_that_it_keeps_for_other_clients(nb):
    assert set(nb.value("[tool.name for tool in everything.tools]")) == set(TOOLS.split())
    assert "2025-11-25" in nb.run("%mcp status").text


def test_the_table_of_tools_tells_what_the_server_says(nb):
    shown = nb.run("%mcp tools everything").text
    assert "echo(message: str)" in shown
    assert re.search(r"get-sum\(a: float, b: float\) +Returns the sum of two numbers +reads", shown)
    assert re.search(r"gzip-file-as-resource.* writes, repeatable", shown)


def test_tools_are_functions_with_the_schemas_signature(nb):
    assert nb.value("everything.tools.get_sum(2, 3).text") == "The sum of 2 and 3 is 5."
    assert nb.value('everything.tools["get-sum"](b=2, a=0.5).text').endswith("is 2.5.")
    assert "location: Literal['New York', 'Chicago', 'Los Angeles']" in nb.inspect(
        "everything.tools.get_structured_content"
    )
    assert "Message to echo" in nb.inspect("everything.tools.echo")


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("everything.tools.get_s", "everything.tools.get_sum"),
        ('everything.tools["get-t', 'everything.tools["get-tiny-image'),
        ("%mcp call everything get-st", "%mcp call everything get-structured-content"),
        (
            "%mcp call everything get-structured-content loc",
            "%mcp call everything get-structured-content location=",
        ),
    ],
)
def test_tab_completes_names_and_arguments(nb, typed, offered):
    assert offered in nb.complete(typed)


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        ("get_structured_content(location='Rome')", "must be one of 'New York', 'Chicago'"),
        ("get_sum(a=1)", "'b'"),
        ("get_sum(a=1, b='x')", "must be float, not str"),
        ("echo(mesage='x')", "message"),
    ],
)
def test_what_does_not_fit_is_said_before_anything_is_sent(nb, call, complaint):
    cell = nb.run(f"everything.tools.{call}")
    assert "ToolArgumentError" in cell.error
    assert complaint in cell.error
    assert "→" in cell.error


def test_an_error_of_the_server_is_an_exception_with_its_words(nb):
    cell = nb.run("everything.tools.get_resource_reference(resourceId=-2)")
    assert "ToolFailedError" in cell.error
    assert "Must be a finite positive integer" in cell.error


def test_structured_content_is_a_value_and_a_table(nb):
    nb.run("weather = everything.tools.get_structured_content(location='Chicago')")
    assert nb.value("weather.data['humidity']") == 82
    assert nb.value("weather.to_frame().loc[0, 'conditions']") == "Light rain / drizzle"
    assert '"humidity": 82' in nb.run("weather").text


def test_text_that_is_json_is_a_value(nb):
    assert nb.value("'PATH' in everything.tools.get_env().data")


def test_pictures_are_shown_and_kept_with_their_texts(nb):
    cell = nb.run("logo = everything.tools.get_tiny_image()\nlogo")
    assert "[Picture 1: PNG, 20 × 20" in cell.text
    page = cell.outputs[0]["data"]["text/html"]
    places = [page.index(part) for part in ("image you requested", "data:image/png", "MCP logo.")]
    assert places == sorted(places)
    assert nb.value("logo.images[0].data[1:4].decode()") == "PNG"


def test_annotations_of_the_content_are_at_hand(nb):
    call = "everything.tools.get_annotated_message(messageType='error', includeImage=True)"
    nb.run(f"message = {call}")
    assert "Operation failed" in nb.run("message").text
    assert nb.value("message.raw.content[0].annotations.priority") == 1.0
    assert nb.value("message.raw.content[1].annotations.audience") == ["user"]
    assert nb.value("len(message.images)") == 1


def test_links_and_resources_in_an_answer_are_named_and_not_fetched(nb):
    cell = nb.run("linked = everything.tools.get_resource_links(count=2)\nlinked")
    assert "[Blob Resource 1: demo://resource/dynamic/blob/1" in cell.text
    assert nb.value("[link.name for link in linked.links]") == [
        "Blob Resource 1",
        "Text Resource 2",
    ]
    nb.run("found = everything.tools.get_resource_reference(resourceType='Text', resourceId=3)")
    assert nb.value("found.resources[0].text").startswith("Resource 3: This is a plaintext")


def test_bytes_come_as_a_resource(nb):
    made = "everything.tools.gzip_file_as_resource(name='a.gz', data='data:,hello', outputType={})"
    unpack = "__import__('gzip').decompress(__import__('base64').b64decode({}))"
    blob = f"{made.format(repr('resource'))}.resources[0].blob"
    assert nb.value(f"{unpack.format(blob)}.decode()") == "hello"
    assert "[a.gz: demo://resource/session/a.gz" in nb.run(made.format("'resourceLink'")).text


DOCUMENT = "demo://resource/static/document/features.md"


def test_resources_are_listed_and_read_by_their_addresses(nb):
    assert DOCUMENT in nb.value("[resource.uri for resource in everything.resources]")
    assert re.search(r"everything: [78] resources\n", nb.run("everything.resources").text)
    assert nb.value(f"everything.resources[{DOCUMENT!r}].read().text").startswith("# Everything")
    absent = nb.run("everything.resources.read('demo://resource/nope')")
    assert "ServerError" in absent.error
    assert "Resource demo://resource/nope not found" in absent.error


def test_templates_are_functions_that_read(nb):
    nb.run("texts = everything.resources.templates.Dynamic_Text_Resource")
    assert nb.value("texts(resourceId=4).text").startswith("Resource 4: This is a plaintext")
    nb.run("bytes_ = everything.resources.templates['Dynamic Blob Resource']")
    assert nb.value("bytes_('4').content.decode()").startswith("Resource 4: This is a base64")
    assert "Unknown resource" in nb.run("texts(resourceId='x')").error
    assert nb.value("texts.suggest('resourceId', '12')") == ["12"]


def test_a_link_in_an_answer_is_a_resource_from_then_on(nb):
    nb.run(
        "made = everything.tools.gzip_file_as_resource(name='b.gz', data='data:,hello')\n"
        "packed = everything.resources.read(made.links[0].uri)"
    )
    assert nb.value("__import__('gzip').decompress(packed.content).decode()") == "hello"


def test_a_watched_resource_tells_when_it_changes(nb):
    nb.run(f"watch = everything.resources.watch({DOCUMENT!r})")
    nb.run("everything.tools.toggle_subscriber_updates()")
    assert nb.value("watch.wait(8).text").startswith("# Everything")
    nb.run("watch.close()\neverything.tools.toggle_subscriber_updates()")


def test_prompts_are_functions_that_answer_with_messages(nb):
    assert nb.value("len(everything.prompts)") == 4
    assert "This is a simple prompt" in nb.run("everything.prompts.simple_prompt()").text
    assert nb.value("everything.prompts.args_prompt('Paris', state='TX').text") == (
        "What's weather in Paris, TX?"
    )
    assert "needs 'city'" in nb.run("everything.prompts.args_prompt()").error
    call = "everything.prompts['resource-prompt'](resourceType='Text', resourceId=3)"
    assert nb.value(f"[message.content.type for message in {call}]") == ["text", "resource"]


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("everything.prompts.co", "everything.prompts.completable_prompt"),
        (
            "everything.prompts.completable_prompt(department='Ma",
            "everything.prompts.completable_prompt(department='Marketing",
        ),
        (
            "everything.prompts.completable_prompt(department='Sales', name='E",
            "everything.prompts.completable_prompt(department='Sales', name='Eve",
        ),
        (
            "everything.tools.get_structured_content(location='Ch",
            "everything.tools.get_structured_content(location='Chicago",
        ),
    ],
)
def test_tab_completes_the_values_of_arguments(nb, typed, offered):
    nb.value("len(everything.prompts)")  # listed
    assert offered in [line.rstrip("')") for line in nb.complete(typed)]


def test_every_field_of_a_form_is_asked_for_in_the_cell(nb, asked):
    cell = nb.run("said = everything.tools.trigger_elicitation_request()")
    assert not cell.error
    assert "everything asks, in trigger-elicitation-request:" in cell.text
    assert "Please provide inputs for the following fields:" in cell.text
    assert len(asked) == 14  # the fields, and whether to send them
    assert "Integer [42]: " in asked
    assert "Titled Single Select Enum [Superman]: " in asked
    answer = _raw_answer(nb, "said")
    assert answer["action"] == "accept"
    assert answer["content"]["name"] == "Ada"
    assert answer["content"]["check"] is True
    assert answer["content"]["email"] == "a@b.org"
    assert answer["content"]["integer"] == 42
    assert answer["content"]["titledMultipleSelectEnum"] == ["fish-1", "fish-3"]
    assert answer["content"]["legacyTitledEnum"] == "pet-1"
    assert "homepage" not in answer["content"]


def test_a_question_can_be_declined_in_the_cell(nb):
    nb.answers = lambda prompt, masked: "!decline"
    nb.run("said = everything.tools.trigger_elicitation_request()")
    nb.answers = None
    assert _raw_answer(nb, "said") == {"action": "decline"}


def test_questions_can_be_answered_beforehand(nb):
    nb.run("seen = []")
    nb.run(
        "def answer(question):\n"
        "    seen.append((question.server, question.tool, sorted(question.schema['properties'])))\n"
        "    return {'name': 'Grace', 'integer': 7}\n"
        "everything.on_question = answer"
    )
    nb.run("said = everything.tools.trigger_elicitation_request()", allow_stdin=False)
    assert _raw_answer(nb, "said")["content"] == {"name": "Grace", "integer": 7}
    server, tool, fields = nb.value("seen[0]")
    assert (server, tool) == ("everything", "trigger-elicitation-request")
    assert len(fields) == 13

    nb.run("everything.on_question = lambda question: {'name': 'Grace', 'integer': 700}")
    misfit = nb.run("everything.tools.trigger_elicitation_request()", allow_stdin=False)
    assert "AnswerError" in misfit.error
    assert "700" not in misfit.error.partition("→")[0]

    nb.run("everything.on_question = mcp_notebook.accept_defaults")
    nb.run("said = everything.tools.trigger_elicitation_request()", allow_stdin=False)
    assert _raw_answer(nb, "said") == {"action": "decline"}  # a name has no default
    nb.run("everything.on_question = None")


def test_a_question_nobody_can_answer_ends_at_once_and_says_how_to(nb):
    began = time.monotonic()
    cell = nb.run("said = everything.tools.trigger_elicitation_request()", 20, allow_stdin=False)
    assert time.monotonic() - began < 10
    assert "session.on_question" in cell.text
    assert _raw_answer(nb, "said") == {"action": "cancel"}


def test_a_page_to_open_is_shown_whole_and_never_opened_by_itself(nb, asked):
    cell = nb.run(
        "said = everything.tools.trigger_url_elicitation(url='https://example.com/a?b=1')"
    )
    assert not cell.error
    assert len(asked) == 1
    assert nb.wait_for_link() == "https://example.com/a?b=1"  # a link for the person to click
    assert _raw_answer(nb, "said") == {"action": "accept"}


def test_a_call_that_fails_for_want_of_an_opened_page_is_made_again(nb, asked):
    call = "everything.tools.trigger_url_elicitation(url='https://example.com/2', errorPath=True)"
    cell = nb.run(f"said = {call}")
    assert not cell.error
    assert len(asked) == 2  # the page the failed call wanted, then that of the call itself
    assert {"https://modelcontextprotocol.io", "https://example.com/2"} <= set(nb.links)
    assert _raw_answer(nb, "said") == {"action": "accept"}

    nb.answers = lambda prompt, masked: "!decline"
    declined = nb.run(call)
    assert "This request requires browser-based authorization" in declined.error
    assert "→ It wants a page to be opened first" in declined.error
    unattended = nb.run(call.replace("example.com/2", "example.com/3"), allow_stdin=False)
    assert "on_question" in unattended.error + unattended.text


def _raw_answer(nb: Notebook, variable: str) -> dict:
    """Returns the answer as the server says it got it."""
    return json.loads(nb.value(f"{variable}.text").partition("Raw result: ")[2])


def test_long_work_shows_how_far_it_is(nb):
    nb.widgets.clear()
    cell = nb.run("done = everything.tools.trigger_long_running_operation(duration=2, steps=8)")
    assert not cell.error
    assert "trigger-long-running-operation" in cell.text
    nb.wait_for_widget("FloatProgressModel", lambda state: state.get("value", 0) >= 0.5)
    assert nb.value("done.text").startswith("Long running operation completed")


def test_stop_ends_a_running_call_and_the_session_lives(nb):
    cell = nb.start("everything.tools.trigger_long_running_operation(duration=60, steps=60)")
    assert cell.shown.wait(20)
    nb.interrupt()
    assert "KeyboardInterrupt" in cell.wait(10).error
    assert nb.value("everything.tools.echo(message='still here').text") == "Echo: still here"


def test_tools_can_be_awaited_at_once(nb):
    cell = nb.run(
        "import asyncio\n"
        "calls = [everything.tools.get_sum.aio(a=n, b=n) for n in range(12)]\n"
        "sums = [result.text for result in await asyncio.gather(*calls)]"
    )
    assert not cell.error
    assert nb.value("sums")[11] == "The sum of 11 and 11 is 22."


def test_a_tool_is_mapped_over_rows(nb):
    nb.run("rows = [{'location': place} for place in ('Chicago', 'New York')]")
    nb.run("frame = everything.tools.get_structured_content.map(rows).to_frame()")
    assert nb.value("frame['temperature'].tolist()") == [36, 33]


def test_logging_is_switched_on_and_off_and_disturbs_nothing(nb):
    assert "Started" in nb.run("everything.tools.toggle_simulated_logging()").text
    assert nb.value("everything.tools.echo(message='x').text") == "Echo: x"
    assert "Stopped" in nb.run("everything.tools.toggle_simulated_logging()").text
    assert "Started" in nb.run("everything.tools.toggle_subscriber_updates()").text
    assert "Stopped" in nb.run("everything.tools.toggle_subscriber_updates()").text


def test_the_magic_calls_with_pairs_with_a_body_and_into_a_variable(nb):
    shown = nb.run("%mcp call everything get-structured-content location='New York'")
    assert '"temperature": 33' in shown.text
    assert "Echo: a=b, {c}" in nb.run("%mcp call everything echo message='a=b, {c}'").text
    body = '%%mcp call everything echo\n{"message": "from\\na body"}'
    assert "from\na body" in nb.run(body).text
    assert not nb.run("%mcp call everything get-sum a=2 b=3 -o total").outputs
    assert nb.value("total.text") == "The sum of 2 and 3 is 5."
    assert "ToolArgumentError" in nb.run("%mcp call everything get-sum a=2 b=many").error


def test_none_of_it_comes_to_the_kernels_log(nb):
    assert "Traceback" not in nb.log()
