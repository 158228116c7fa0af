"""Many kernels of one user: one sign-in, one renewal, and nobody's end is another's.

Eight kernels are started once. Every test knows the server by a name of its own, and so has a
sign-in of its own. What the lock between processes promises is tested in `tests.auth.test_locks`.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest

from tests.driving.kernel import Cell, Notebook
from tests.peers import ToolServer, serve_authority, serve_tools, visit
from tests.peers.fault_proxy import Hole, serve_faults

KERNELS = 8
numbers = count()


@pytest.fixture(scope="module")
def authority():
    """Rotates refresh tokens, and revokes everything when one is used twice (RFC 9700 §4.14)."""
    with serve_authority(rotate=True, reuse_detection=True) as server:
        yield server


@pytest.fixture(scope="module")
def notes(authority):
    with serve_tools(authority) as server:
        yield server


@pytest.fixture(scope="module")
def all_kernels(start_shared) -> list[Notebook]:
    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(lambda _: start_shared(), range(KERNELS)))


@pytest.fixture
def kernels(all_kernels) -> list[Notebook]:
    """All of them, each with a person who clicks."""
    for nb in all_kernels:
        nb.person = visit
        nb.links.clear()
    return all_kernels


@pytest.fixture
def connect(authority, notes):
    """Connects kernels to a server that none of them has known before."""
    name = f"notes{next(numbers)}"

    def connect(kernels: list[Notebook], *, wait: bool = True) -> None:
        notes.forget_seen()
        kernels[0].run(f"%mcp add {name} {notes.url}")
        for nb in kernels:
            assert not nb.run(f"%mcp connect {name}\nnotes = {name}").error
            if wait:
                assert nb.value("notes.wait(30).status") == "connected"
        if wait:  # until all listen, too: that is a request of its own, and renews tokens
            notes.wait_until(lambda: listening(notes) == len(kernels), 20)
        authority.forget_seen()
        authority.reuses = 0

    return connect


def listening(notes: ToolServer) -> int:
    return sum(
        seen.rpc == "subscriptions/listen" and seen.status == 200 for seen in list(notes.seen)
    )


def shown(cell: Cell) -> str:
    """Returns the last line of a cell when it is done; a slow one tells what it waits for first."""
    lines = (cell.wait(30).text + cell.error).split()
    return lines[-1] if lines else ""


def together(kernels: list[Notebook], code: str) -> list[str]:
    """Runs the same cell in all kernels at once; returns what each showed."""
    cells = [nb.start(code) for nb in kernels]
    return [shown(cell) for cell in cells]


def links(kernels: list[Notebook]) -> list[int]:
    return [len(nb.links) for nb in kernels]


def add(a: int) -> str:
    return f"print(notes.tools.add(a={a}, b=3).data)"


def test_eight_kernels_with_one_expired_token_renew_it_once(kernels, connect, authority):
    connect(kernels)
    assert links(kernels) == [1] + [0] * (KERNELS - 1)  # one signed in; that is enough for all

    authority.expire_access()
    assert together(kernels, add(2)) == ["5"] * KERNELS
    assert authority.counts() == {"/token": 1}
    assert authority.reuses == 0

    # As after a laptop has slept: all open anew at once, and the token is over.
    authority.forget_seen()
    authority.expire_access()
    again = "notes.disconnect(); __import__('mcp_notebook').connect(notes.name); " + add(4)
    assert together(kernels, again) == ["7"] * KERNELS
    assert authority.counts() == {"/token": 1}
    assert authority.reuses == 0
    assert sum(links(kernels)) == 1


def test_a_hundred_calls_with_an_expired_token_renew_it_once(kernels, connect, authority):
    connect(kernels[:1])
    authority.expire_access()
    cell = kernels[0].run(
        "import asyncio\n"
        "calls = [notes.tools.add.aio(a=n, b=1) for n in range(100)]\n"
        "sums = [result.data for result in await asyncio.gather(*calls)]"
    )
    assert not cell.error
    assert kernels[0].value("sums") == list(range(1, 101))
    assert authority.counts() == {"/token": 1}


def test_a_kernel_that_is_killed_while_it_renews_holds_nobody_up(
    start_shared, connect, kernels, authority
):
    victim, others = start_shared(), kernels[:3]
    with serve_faults(authority.port) as proxy:
        authority.knobs.metadata_overrides = {"token_endpoint": f"{proxy.origin}/token"}
        try:
            connect([victim, *others])
        finally:
            authority.knobs.metadata_overrides = {}
        authority.expire_access()
        renewals = len(proxy.seen)
        proxy.next(Hole(), when=lambda request: request.path == "/token")
        victim.start(add(1))
        proxy.wait_until(lambda: len(proxy.seen) > renewals)  # it holds the lock, and asks
        calls = [nb.start(add(2)) for nb in others]
        victim.kill()
        assert [shown(call) for call in calls] == ["5"] * 3
    assert authority.count("/token") == 1
    assert links(others) == [0] * 3


def test_a_token_that_died_with_its_kernel_costs_one_sign_in(
    start_shared, connect, kernels, authority
):
    """The token was spent, and what it was spent for is lost: only a person can help."""
    victim, others = start_shared(), kernels[:3]
    connect([victim, *others])
    for nb in others[1:]:
        nb.person = None
    authority.expire_access()
    authority.grants_made.clear()
    with authority.hold("/token"):
        victim.start(add(1))
        authority.wait_for("/token")
        calls = [nb.start(add(2)) for nb in others]
        victim.kill()
        authority.wait_for("/token", 2)
    assert [shown(call) for call in calls] == ["5"] * 3
    assert authority.reuses == 1  # tried once, and not by each of them
    assert authority.grants_made == ["refresh_token", "authorization_code"]


def test_two_kernels_that_need_a_sign_in_are_both_done_after_one_click(kernels, connect):
    one, two = kernels[:2]
    one.person = two.person = None
    connect([one, two], wait=False)
    link = one.wait_for_link()
    two.wait_for_link()
    calls = [nb.start(add(2)) for nb in (one, two)]
    visit(link)
    for nb, call in zip((one, two), calls, strict=True):
        assert shown(call) == "5"
        assert nb.value("notes.status") == "connected"
        nb.wait_for_face("Connected")


def test_signing_out_in_one_kernel_is_noticed_by_another(kernels, connect, authority):
    one, two = kernels[:2]
    connect([one, two])
    two.person = None
    assert "revoked" in one.run("notes.sign_out()").text
    call = two.start(add(4))
    link = two.wait_for_link()  # nothing is renewed or resurrected: a person is asked
    visit(link)
    assert shown(call) == "7"


def test_a_late_renewal_does_not_undo_a_sign_out(kernels, connect, authority):
    authority.knobs.no_revocation = True  # so that whatever is kept would still be good
    one, two = kernels[:2]
    try:
        connect([one, two])
    finally:
        authority.knobs.no_revocation = False
    two.person = None
    authority.expire_access()
    with authority.hold("/token"):
        call = two.start(add(4))
        authority.wait_for("/token")  # two renews ...
        one.run("notes.sign_out()")  # ... while one signs out ...
    visit(two.wait_for_link())  # ... and what two got is neither kept nor used
    assert shown(call) == "7"
    assert authority.grants_made[-2:] == ["refresh_token", "authorization_code"]
