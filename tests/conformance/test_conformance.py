"""The conformance suite's own scenarios, through a real kernel; and how they are judged."""

from __future__ import annotations

import os

import pytest

from tests.conformance import install, suite
from tests.conformance.client import drive
from tests.conformance.scripts import Script
from tests.conformance.suite import Run, judge
from tests.peers import serve_authority, serve_tools

DEFAULT = suite.legs()["default"]

# An installation has clocks of its own.
pytestmark = pytest.mark.timeout(120, func_only=True)


@pytest.fixture(scope="module")
def installed():
    """Node and the suite: needed under CI, and a reason to skip on a machine without npm."""
    try:
        install.node()
        install.suite(DEFAULT.suite)
    except install.MissingError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(str(error))
        pytest.skip(str(error))


@pytest.mark.parametrize("scenario", DEFAULT.floors)
def test_a_scenario_passes_with_as_many_checks_as_its_floor(installed, scenario):
    assert suite.run(DEFAULT, scenario).faults == ()


def test_every_scenario_of_the_suite_has_a_floor_or_a_reason(installed):
    assert suite.unlisted(DEFAULT) == []


def test_a_client_that_does_nothing_passes_nothing(installed):
    # The suite itself finds nothing wrong with it here.
    outcome = suite.run(DEFAULT, "initialize", client="true")
    assert outcome.faults == ("only 0 checks succeeded, 1 have to",)


@pytest.mark.parametrize("leg", suite.legs().values(), ids=lambda leg: leg.name)
def test_no_leg_has_a_floor_of_nothing(leg):
    assert min(leg.floors.values()) >= 1
    assert not leg.floors.keys() & leg.outside.keys()
    assert leg.options.keys() <= leg.floors.keys()


@pytest.mark.anyio
async def test_the_client_signs_a_person_in_and_complains_of_what_should_have_failed():
    with serve_authority() as authority, serve_tools(authority) as tools:
        played = Script(cells=("server.tools['echo'](text='hello')",), refusal="the issuer")
        assert await drive(tools.url, played) == "nothing said: the issuer"
        assert tools.calls("echo") == 1


@pytest.mark.anyio
async def test_the_client_complains_of_an_error_that_is_not_the_refusal_it_waits_for():
    with serve_tools() as tools:
        played = Script(cells=("1 / 0",), refusal="the issuer")
        assert await drive(tools.url, played) == "ZeroDivisionError: division by zero"


GOOD = {"id": "a", "status": "SUCCESS", "description": "a is so"}
ALSO_GOOD = {"id": "a", "status": "SUCCESS", "description": "a is so elsewhere"}
BAD = {"id": "b", "status": "FAILURE", "description": "b", "errorMessage": "b is not so"}
DOUBTFUL = {"id": "c", "status": "WARNING", "description": "c is doubtful"}
UNTOLD = [{"id": "d", "status": status, "description": "d"} for status in ("SKIPPED", "INFO")]


def test_different_checks_count_and_repeated_ones_do_not():
    outcome = judge("s", Run(0, "", [GOOD, GOOD, ALSO_GOOD, *UNTOLD]), floor=2)
    assert (outcome.succeeded, outcome.judged, outcome.faults) == (2, 2, ())


def test_too_few_checks_are_a_fault():
    assert judge("s", Run(0, "", [GOOD, GOOD]), floor=2).faults == (
        "only 1 checks succeeded, 2 have to",
    )


def test_no_checks_at_all_are_a_fault():
    assert judge("s", Run(0, "", None), floor=1).faults


def test_a_failure_and_a_warning_are_faults_whatever_the_suite_ends_with():
    outcome = judge("s", Run(0, "", [GOOD, BAD, DOUBTFUL]), floor=1)
    assert outcome.faults == ("failure b: b is not so", "warning c: c is doubtful")
    assert (outcome.succeeded, outcome.judged) == (1, 3)


def test_a_check_that_succeeded_once_and_failed_once_has_not_succeeded():
    assert judge("s", Run(0, "", [GOOD, GOOD | {"status": "FAILURE"}]), floor=1).succeeded == 0


def test_a_client_that_ends_badly_has_not_passed_though_all_checks_are_green():
    errors = "Client exited with code 1\n\nStderr:\nSignInError: it did not work\nmore"
    assert judge("s", Run(0, errors, [GOOD]), floor=1).faults == (
        "the client ended with 1: SignInError: it did not work",
    )


def test_a_client_that_runs_out_of_time_has_not_passed():
    assert judge("s", Run(0, "Client timed out after 60000ms", [GOOD]), floor=1).faults


def test_a_suite_that_ends_badly_for_another_reason_has_not_passed():
    assert judge("s", Run(1, "SyntaxError", [GOOD]), floor=1).faults == (
        "the suite ended with 1: SyntaxError",
    )
