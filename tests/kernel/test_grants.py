"""Signing in without a browser on the kernel's machine, and without anybody at all, in a kernel."""

from __future__ import annotations

import re

import pytest

from tests.peers import visit


def test_a_code_is_typed_on_another_device(start, notes, authority):
    nb = start(person=None)
    assert not nb.run(f"%mcp add notes {notes.url} --grant device_code").error
    assert not nb.run("%mcp connect notes").error
    link = nb.wait_for_link()
    (device,) = authority.devices.values()
    face = nb.wait_for_face(device.user_code)
    assert authority.url.partition("//")[2].partition(":")[0] in face  # whose page it is
    assert "redirect_uri" not in link

    call = nb.start("notes.tools.add(a=2, b=3).data")
    assert not call.done.wait(1)
    visit(link)
    assert call.wait(30).text.splitlines()[-1] == "5"
    nb.wait_for_face("Connected")
    assert device.user_code not in nb.saved()
    assert authority.count("/authorize") == 0
    assert authority.grants_made == ["urn:ietf:params:oauth:grant-type:device_code"]


@pytest.fixture
def robot(authority) -> dict[str, str]:
    """The environment of a job that has a client of its own."""
    authority.add_client("robot", secret="robot-secret", method="client_secret_basic")
    return {"ROBOT_SECRET": "robot-secret"}


ROBOT = "--grant client_credentials --client-id robot --client-secret-env ROBOT_SECRET"


def test_a_job_connects_with_nobody_there(start, notes, authority, robot):
    nb = start(person=None, env=robot)
    run = [
        nb.run(code, allow_stdin=False)
        for code in (
            f"%mcp add notes {notes.url} {ROBOT}",
            "%mcp connect notes",
            "notes.tools.add(a=2, b=3).data",
        )
    ]
    assert [cell.error for cell in run] == ["", "", ""]
    assert run[-1].text.strip() == "5"
    assert nb.links == []  # the card tells how it stands; it never offered a sign-in
    assert authority.grants_made == ["client_credentials"]
    assert authority.count("/authorize") == authority.count("/register") == 0
    assert "robot-secret" not in nb.saved() + nb.log()

    authority.expire_access()
    again = nb.run("notes.tools.add(a=4, b=3).data", allow_stdin=False)
    assert again.text.strip() == "7"
    assert authority.grants_made == ["client_credentials"] * 2


def test_a_job_whose_secret_is_missing_is_told_and_does_not_hang(start, notes, authority):
    nb = start(person=None)
    nb.run(f"%mcp add notes {notes.url} {ROBOT}", allow_stdin=False)
    nb.run("%mcp connect notes", allow_stdin=False)
    call = nb.run("notes.tools.add(a=2, b=3)", 20, allow_stdin=False)
    assert re.search(r"ServerConfigError.*ROBOT_SECRET", call.error)
    assert authority.count("/token") == 0
