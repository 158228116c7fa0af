"""Many kernels of one user: one sign-in, one renewal, and nobody's end is another's."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.peers import serve_authority, serve_tools, visit

KERNELS = 8


@pytest.fixture
def authority():
    """Rotates refresh tokens, and revokes everything when one is used twice (RFC 9700 §4.14)."""
    with serve_authority(rotate=True, reuse_detection=True) as server:
        yield server


@pytest.fixture
def notes(authority):
    with serve_tools(authority) as server:
        yield server


def signed_in(start, notes):
    nb = start()
    nb.run(f"%mcp add notes {notes.url}")
    nb.run("%mcp connect notes")
    assert nb.value("notes.wait(30).status") == "connected"
    return nb


def together(kernels, code: str) -> list[str]:
    """Runs the same cell in all kernels at once; returns what each showed."""
    cells = [nb.start(code) for nb in kernels]
    return [cell.wait(60).text + cell.error for cell in cells]


def test_eight_kernels_with_one_expired_token_renew_it_once(start, notes, authority):
    first = signed_in(start, notes)
    with ThreadPoolExecutor(4) as pool:
        kernels = [first, *pool.map(lambda _: start(), range(KERNELS - 1))]
    for nb in kernels:
        nb.run("%mcp connect notes")
        assert nb.value("notes.wait(30).status") == "connected"
    authority.expire_access()
    authority.forget_seen()

    answers = together(kernels, "print(notes.tools.add(a=2, b=3).data)")
    assert answers == ["5\n"] * KERNELS
    assert authority.count("/token") == 1
    assert authority.count("/authorize") == 0
    assert authority.reuses == 0
    assert [len(nb.links) for nb in kernels[1:]] == [0] * (KERNELS - 1)

    first.kill()  # whoever held anything is gone; the others go on
    authority.expire_access()
    authority.forget_seen()
    answers = together(kernels[1:4], "print(notes.tools.add(a=4, b=3).data)")
    assert answers == ["7\n"] * 3
    assert authority.count("/token") == 1


def test_a_hundred_calls_with_an_expired_token_renew_it_once(start, notes, authority):
    nb = signed_in(start, notes)
    authority.expire_access()
    authority.forget_seen()
    cell = nb.run(
        "import asyncio\n"
        "calls = [notes.tools.add.aio(a=n, b=1) for n in range(100)]\n"
        "sums = [result.data for result in await asyncio.gather(*calls)]"
    )
    assert not cell.error
    assert nb.value("sums") == list(range(1, 101))
    assert authority.count("/token") == 1


def test_two_kernels_that_need_a_sign_in_are_both_done_after_one_click(start, notes):
    one, two = start(person=None), start(person=None)
    one.run(f"%mcp add notes {notes.url}")
    for nb in (one, two):
        nb.run("%mcp connect notes")
    link = one.wait_for_link()
    two.wait_for_link()
    visit(link)
    for nb in (one, two):
        assert nb.value("notes.wait(30).status") == "connected"
    assert two.value("notes.tools.add(a=2, b=3).data") == 5
    two.wait_for_face("Connected")


def test_signing_out_in_one_kernel_is_noticed_by_another(start, notes, authority):
    one = signed_in(start, notes)
    two = start(person=None)
    two.run("%mcp connect notes")
    assert two.value("notes.wait(30).tools.add(a=2, b=3).data") == 5
    assert "revoked" in one.run("%mcp sign-out notes").text
    call = two.start("print(notes.tools.add(a=4, b=3).data)")
    link = two.wait_for_link()  # nothing is renewed or resurrected: a person is asked
    visit(link)
    assert call.wait(30).text.strip().endswith("7")


def test_a_restarted_server_is_not_noticed_by_the_next_call(start, notes):
    nb = signed_in(start, notes)
    notes.restart()
    assert nb.value("notes.tools.add(a=2, b=3).data") == 5
    assert len(nb.links) == 1


def test_an_authorization_server_that_is_down_is_not_taken_for_a_lost_sign_in(
    start, notes, authority
):
    nb = signed_in(start, notes)
    authority.expire_access()
    authority.fail_next(100, 503, path="/token")
    failed = nb.run("notes.tools.add(a=2, b=3)")
    assert "AuthorizationServerError" in failed.error
    assert len(nb.links) == 1  # no sign-in page
    authority.heal()
    assert nb.value("notes.tools.add(a=2, b=3).data") == 5
    assert len(nb.links) == 1


def test_an_endless_401_ends_after_one_sign_in_offer(start, notes):
    nb = signed_in(start, notes)
    notes.knobs.always_401 = True
    failed = nb.run("notes.tools.add(a=2, b=3)", 60)
    assert "SignInError" in failed.error or "SignInNeededError" in failed.error
    assert len(nb.links) <= 2
    notes.knobs.always_401 = False
    assert nb.value("notes.tools.add(a=2, b=3).data") == 5


def test_a_kernel_with_a_call_under_way_ends_at_once(start, notes):
    nb = signed_in(start, notes)
    nb.run("call = __import__('threading').Thread(target=lambda: notes.tools.slow(seconds=60))")
    nb.run("call.daemon = True; call.start()")
    notes.wait_for_tool("slow")
    began = time.monotonic()
    nb.restart()
    assert time.monotonic() - began < 10  # a kernel that does not end is killed after longer
