"""Which store is used, what is said of it, and how sign-ins move to another."""

from __future__ import annotations

import pytest

from mcp_notebook.auth.stores import FileStore
from mcp_notebook.auth.tokens import TokenKeeper, open_keeper, remember_store
from mcp_notebook.errors import TokenStoreError
from tests.auth.keyrings import (
    BrokenKeyring,
    ForgetfulKeyring,
    LockedKeyring,
    PlaintextKeyring,
    use_keyring,
)
from tests.auth.test_stores import a_record

pytestmark = pytest.mark.anyio

RESOURCE = a_record().resource


@pytest.fixture
def backend(monkeypatch) -> BrokenKeyring:
    """The machine's keyring, in working order until a test breaks it."""
    backend = BrokenKeyring()
    use_keyring(monkeypatch, backend)
    return backend


@pytest.mark.parametrize(
    ("unusable", "told"),
    [
        ("keyring.backends.fail.Keyring", "no keyring"),
        ("keyring.backends.null.Keyring", "no keyring"),
        ("no_such_module.Keyring", "ModuleNotFoundError"),
    ],
)
async def test_without_a_keyring_everything_works_and_ends_with_the_kernel(
    monkeypatch, unusable, told
):
    use_keyring(monkeypatch, None)
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", unusable)
    keeper = TokenKeeper()
    record = await keeper.save(a_record())
    assert await keeper.load("notes", resource=RESOURCE) == record
    report = keeper.describe()
    assert (report.kind, report.survives) == ("memory", False)
    assert told in keeper.notice()
    assert "%mcp store file" in str(report)
    assert keeper.notice() == ""


@pytest.mark.parametrize(
    "backend", [PlaintextKeyring(), ForgetfulKeyring(), LockedKeyring()], ids=repr
)
async def test_a_keyring_that_does_not_protect_or_keep_is_never_used(monkeypatch, backend):
    use_keyring(monkeypatch, backend)
    keeper = TokenKeeper()
    await keeper.save(a_record())
    assert keeper.describe().kind == "memory"
    assert backend.entries == {}


async def test_a_usable_keyring_is_used_and_looked_at_only_when_needed(backend):
    keeper = open_keeper()
    assert backend.reads == 0
    assert "not used yet" in str(keeper.describe())
    await keeper.load("notes", resource=RESOURCE)
    report = keeper.describe()
    assert (report.kind, report.survives, report.problem) == ("keyring", True, "")
    assert keeper.notice() == ""


async def test_the_environment_comes_before_the_remembered_choice(backend, monkeypatch):
    remember_store("file")
    assert (await TokenKeeper().probe()).kind == "file"
    monkeypatch.setenv("MCP_NOTEBOOK_TOKEN_STORE", "memory")
    assert (await TokenKeeper().probe()).kind == "memory"
    monkeypatch.setenv("MCP_NOTEBOOK_TOKEN_STORE", "keyring")
    assert (await TokenKeeper().probe()).kind == "keyring"


def test_a_store_that_there_is_not_is_told(monkeypatch):
    monkeypatch.setenv("MCP_NOTEBOOK_TOKEN_STORE", "vault")
    with pytest.raises(TokenStoreError, match="vault") as caught:
        open_keeper()
    assert "keyring, file, memory" in caught.value.hint


async def test_damaged_settings_are_no_settings(backend, private_home):
    remember_store("file")
    (private_home / "settings.json").write_bytes(b"\x00")
    assert (await TokenKeeper().probe()).kind == "keyring"


@pytest.mark.parametrize("first", ["keyring", "file", "memory"])
@pytest.mark.parametrize("second", ["keyring", "file", "memory"])
async def test_changing_moves_every_sign_in_and_is_remembered(backend, private_home, first, second):
    remember_store(first)
    keeper = TokenKeeper()
    notes = await keeper.save(a_record())
    await keeper.save(a_record(server="other"))
    report = await keeper.change_store(second)
    assert report.kind == second
    assert report.problem == ""
    assert await keeper.load("notes", resource=RESOURCE) == notes
    assert await keeper.load("other", resource=RESOURCE) is not None
    assert bool(backend.entries) == (second == "keyring")
    assert any(private_home.glob("tokens/*")) == (second == "file")
    later = await TokenKeeper().load("notes", resource=RESOURCE)
    assert later == (None if second == "memory" else notes)
    assert (await keeper.replace(notes, after=notes.generation)).generation == 2


async def test_other_kernels_follow(backend):
    one, two = TokenKeeper(), TokenKeeper()
    record = await one.save(a_record())
    assert await two.load("notes", resource=RESOURCE) == record
    await one.change_store("file")
    assert await two.load("notes", resource=RESOURCE) == record
    assert two.describe().kind == "file"
    await two.replace(record, after=record.generation)
    assert (await one.load("notes", resource=RESOURCE)).generation == 2


async def test_a_store_that_cannot_be_used_is_not_changed_to(monkeypatch):
    use_keyring(monkeypatch, PlaintextKeyring())
    remember_store("file")
    keeper = TokenKeeper()
    record = await keeper.save(a_record())
    with pytest.raises(TokenStoreError, match="does not protect"):
        await keeper.change_store("keyring")
    assert keeper.describe().kind == "file"
    assert await TokenKeeper().load("notes", resource=RESOURCE) == record


async def test_a_keyring_that_went_dead_can_be_left_with_what_is_known(backend):
    keeper = TokenKeeper()
    record = await keeper.save(a_record())
    backend.failure = OSError()
    report = await keeper.change_store("file")
    assert report.kind == "file"
    assert "still kept" in report.problem
    assert await keeper.load("notes", resource=RESOURCE, fresh=True) == record


async def test_a_change_under_a_set_variable_says_that_it_does_not_last(monkeypatch):
    monkeypatch.setenv("MCP_NOTEBOOK_TOKEN_STORE", "memory")
    report = await open_keeper().change_store("file")
    assert report.kind == "file"
    assert "MCP_NOTEBOOK_TOKEN_STORE" in report.problem


def test_a_process_has_one_keeper_and_another_home_another(monkeypatch, tmp_path):
    assert open_keeper() is open_keeper()
    before = open_keeper()
    monkeypatch.setenv("MCP_NOTEBOOK_HOME", str(tmp_path / "elsewhere"))
    assert open_keeper() is not before


async def test_a_probe_of_a_store_that_fails_says_so_before_the_sign_in(backend):
    keeper = TokenKeeper()
    assert (await keeper.probe()).problem == ""
    backend.failure = OSError()
    assert "could not" in (await keeper.probe()).problem
    backend.failure = None
    assert (await keeper.probe()).problem == ""


async def test_a_keeper_with_a_given_store_asks_for_no_choice(private_home):
    remember_store("memory")
    keeper = TokenKeeper(FileStore(private_home / "tokens"))
    await keeper.save(a_record())
    assert keeper.describe().kind == "file"
