"""The keeper: what is cached, what is noticed, what a late or failed write may do."""

from __future__ import annotations

import asyncio
import copy
import json
import os
import pickle
import stat

import pytest
from keyring.backend import get_all_keyring

from mcp_notebook.auth.ledger import entry_key
from mcp_notebook.auth.stores import MemoryStore
from mcp_notebook.auth.tokens import StaleRecordError, TokenKeeper
from mcp_notebook.errors import TokenStoreError
from tests.auth.keyrings import (
    BrokenKeyring,
    GoodKeyring,
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


@pytest.fixture
def kernels(private_home, monkeypatch) -> tuple[TokenKeeper, TokenKeeper]:
    """Two kernels of one user, with files."""
    monkeypatch.setenv("MCP_NOTEBOOK_TOKEN_STORE", "file")
    return TokenKeeper(), TokenKeeper()


class TestWriting:
    async def test_generations_count_the_writes(self, kernels):
        one, two = kernels
        assert (await one.save(a_record(generation=41))).generation == 1
        assert (await two.save(a_record())).generation == 2
        assert (await one.replace(a_record(), after=2)).generation == 3
        assert (await two.load("notes", resource=RESOURCE)).generation == 3

    async def test_a_write_upon_an_older_record_is_refused_with_the_newer(self, kernels):
        one, two = kernels
        await one.save(a_record())
        await two.replace(a_record(access_token="theirs"), after=1)
        with pytest.raises(StaleRecordError) as caught:
            await one.replace(a_record(access_token="ours"), after=1)
        assert caught.value.current.access_token == "theirs"
        assert "theirs" not in str(caught.value) + repr(caught.value)
        assert (await one.load("notes", resource=RESOURCE)).access_token == "theirs"

    async def test_a_late_write_does_not_undo_a_sign_out(self, kernels):
        one, two = kernels
        record = await one.save(a_record())
        await two.forget("notes")
        with pytest.raises(StaleRecordError) as caught:
            await one.replace(record, after=record.generation)
        assert caught.value.current is None
        assert await one.load("notes", resource=RESOURCE) is None
        assert await two.load("notes", resource=RESOURCE, fresh=True) is None

    @pytest.mark.parametrize("kind", ["memory", "file", "keyring"])
    async def test_a_late_write_does_not_overwrite_the_sign_in_after_a_sign_out(
        self, kind, backend, monkeypatch
    ):
        monkeypatch.setenv("MCP_NOTEBOOK_TOKEN_STORE", kind)
        keeper = TokenKeeper()
        before = await keeper.save(a_record(access_token="before"))
        await keeper.forget("notes")
        await keeper.save(a_record(access_token="after"))
        with pytest.raises(StaleRecordError) as caught:
            await keeper.replace(before, after=before.generation)
        assert caught.value.current.access_token == "after"

    async def test_a_kernel_that_knows_nothing_of_a_sign_out_begins_above_it(self, kernels):
        one, late = kernels
        before = await one.save(a_record(access_token="before"))
        assert await late.load("notes", resource=RESOURCE) == before
        await one.forget("notes")
        after = await TokenKeeper().save(a_record(access_token="after"))
        assert after.generation > before.generation
        with pytest.raises(StaleRecordError) as caught:
            await late.replace(before, after=before.generation)
        assert caught.value.current.access_token == "after"

    async def test_two_sign_ins_at_once_leave_one_whole_record(self, kernels):
        one, two = kernels
        await asyncio.gather(
            one.save(a_record(access_token="a" * 5000, client_id="a")),
            two.save(a_record(access_token="b" * 5000, client_id="b")),
        )
        first = await one.load("notes", resource=RESOURCE, fresh=True)
        second = await two.load("notes", resource=RESOURCE, fresh=True)
        assert first == second
        assert first.access_token == first.client_id * 5000
        assert first.generation == 2

    async def test_a_cancelled_writer_leaves_the_store_and_the_memory_agreed(self, backend):
        keeper = TokenKeeper()
        await keeper.save(a_record())
        writing = asyncio.create_task(keeper.replace(a_record(access_token="new"), after=1))
        await asyncio.sleep(0)
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        kept = await keeper.load("notes", resource=RESOURCE, fresh=True)
        assert kept == await keeper.load("notes", resource=RESOURCE)
        assert (await keeper.replace(kept, after=kept.generation)).generation == 1 + kept.generation


class TestReading:
    async def test_the_store_is_asked_once_and_again_after_a_write_elsewhere(self, backend):
        one, two = TokenKeeper(), TokenKeeper()
        await one.save(a_record())
        await two.load("notes", resource=RESOURCE)
        reads = backend.reads
        for _ in range(50):
            assert (await two.load("notes", resource=RESOURCE)).generation == 1
        assert backend.reads == reads
        await one.replace(a_record(access_token="new"), after=1)
        assert (await two.load("notes", resource=RESOURCE)).access_token == "new"
        await one.forget("notes")
        assert await two.load("notes", resource=RESOURCE) is None
        reads = backend.reads
        await two.load("notes", resource=RESOURCE)
        assert backend.reads == reads
        await two.load("notes", resource=RESOURCE, fresh=True)
        assert backend.reads > reads

    async def test_a_record_of_another_server_is_absent(self, kernels):
        one, _ = kernels
        await one.save(a_record())
        assert await one.load("notes", resource="https://evil.example/mcp") is None
        assert await one.load("notes", resource=RESOURCE) is not None

    async def test_a_record_copied_to_another_name_is_absent(self, kernels, private_home):
        one, two = kernels
        await one.save(a_record())
        source = private_home / "tokens" / f"{entry_key('notes')}.json"
        copied = source.with_name(f"{entry_key('other')}.json")
        copied.touch(0o600)
        copied.write_bytes(source.read_bytes())
        assert await two.load("other", resource=RESOURCE) is None

    @pytest.mark.parametrize("content", [b"", b"[]", b"\xff\x00", b"[" * 9000, None])
    async def test_a_damaged_or_lost_marker_costs_one_look_and_no_sign_in(
        self, backend, private_home, content
    ):
        keeper = TokenKeeper()
        await keeper.save(a_record())
        marker = private_home / "sign-ins" / f"{entry_key('notes')}.json"
        if content is None:
            marker.unlink()
        else:
            marker.write_bytes(content)
        assert (await keeper.load("notes", resource=RESOURCE)).generation == 1
        reads = backend.reads
        await keeper.load("notes", resource=RESOURCE)
        assert backend.reads == reads
        assert (await keeper.replace(a_record(), after=1)).generation == 2
        assert json.loads(marker.read_bytes())["generation"] == 2

    async def test_nothing_but_the_store_holds_a_token_and_all_is_private(
        self, backend, private_home
    ):
        keeper = TokenKeeper()
        await keeper.save(a_record())
        async with keeper.refreshing("notes"):
            pass
        files = [path for path in private_home.rglob("*") if path.is_file()]
        assert files
        assert not any(b"planted" in path.read_bytes() for path in files)
        assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
        shown = repr(keeper) + repr(keeper.describe()) + str(keeper.describe())
        assert "planted" not in shown

    @pytest.mark.parametrize("name", ["../../x", "a\0b", "n" * 5120, "CON", "ü\udc80", "a/b"])
    async def test_a_name_is_never_a_path(self, kernels, private_home, name):
        one, two = kernels
        await one.save(a_record(server=name))
        async with one.refreshing(name):
            assert (await two.load(name, resource=RESOURCE)).server == name
        for path in private_home.rglob("*"):
            assert name not in path.name
        await two.forget(name)
        assert await one.load(name, resource=RESOURCE) is None

    async def test_names_that_differ_in_case_are_two_sign_ins(self, kernels):
        one, _ = kernels
        await one.save(a_record(server="Notes"))
        assert await one.load("notes", resource=RESOURCE) is None

    async def test_two_homes_have_two_sign_ins_in_one_keyring(self, backend, monkeypatch, tmp_path):
        await TokenKeeper().save(a_record())
        monkeypatch.setenv("MCP_NOTEBOOK_HOME", str(tmp_path / "another"))
        assert await TokenKeeper().load("notes", resource=RESOURCE) is None


class TestForgetting:
    async def test_it_leaves_no_entry_and_no_name(self, backend, private_home):
        keeper = TokenKeeper()
        await keeper.save(a_record(server="secret-project"))
        await keeper.forget("secret-project")
        assert backend.entries == {}
        for path in private_home.rglob("*"):
            if path.is_file():
                assert b"secret-project" not in path.read_bytes()

    async def test_what_cannot_be_deleted_is_told_forgotten_here_and_deleted_later(self, backend):
        keeper = TokenKeeper()
        record = await keeper.save(a_record())
        backend.failure = OSError("planted")
        with pytest.raises(TokenStoreError, match="still kept") as caught:
            await keeper.forget("notes")
        assert caught.value.hint
        assert await keeper.load("notes", resource=RESOURCE) is None
        with pytest.raises(StaleRecordError):
            await keeper.replace(record, after=record.generation)
        backend.failure = None
        assert await keeper.load("notes", resource=RESOURCE, fresh=True) is None
        await keeper.save(a_record(server="other"))
        assert await TokenKeeper().load("notes", resource=RESOURCE) is None
        assert len(backend.entries) == 1

    async def test_a_sign_in_after_a_failed_sign_out_stands(self, backend):
        keeper = TokenKeeper()
        await keeper.save(a_record(access_token="old"))
        backend.failure = OSError()
        with pytest.raises(TokenStoreError):
            await keeper.forget("notes")
        await keeper.save(a_record(access_token="new"))
        backend.failure = None
        assert (await keeper.load("notes", resource=RESOURCE, fresh=True)).access_token == "new"
        await keeper.probe()
        assert (await TokenKeeper().load("notes", resource=RESOURCE)).access_token == "new"


class TestFailingWrites:
    async def test_a_pair_that_could_not_be_written_is_used_and_told_and_written_later(
        self, backend
    ):
        keeper = TokenKeeper()
        await keeper.save(a_record())
        backend.failure = OSError(28, "planted")
        renewed = await keeper.replace(a_record(access_token="new"), after=1)
        assert renewed.generation == 2
        report = keeper.describe()
        assert not report.survives
        assert report.problem
        assert "planted" not in str(report)
        assert keeper.notice()
        assert keeper.notice() == ""
        for fresh in (False, True):
            kept = await keeper.load("notes", resource=RESOURCE, fresh=fresh)
            assert kept.access_token == "new"
        newest = await keeper.replace(a_record(access_token="newest"), after=2)
        backend.failure = None
        assert await keeper.load("notes", resource=RESOURCE, fresh=True) == newest
        await keeper.save(a_record(server="other"))
        assert (await TokenKeeper().load("notes", resource=RESOURCE)) == newest
        assert keeper.describe().survives
        assert keeper.describe().problem == ""

    async def test_what_was_never_written_does_not_come_back_after_a_sign_out(self, backend):
        keeper = TokenKeeper()
        await keeper.load("notes", resource=RESOURCE)
        backend.failure = OSError()
        await keeper.save(a_record())
        backend.failure = None
        await keeper.forget("notes")
        await keeper.save(a_record(server="other"))
        for kernel in (keeper, TokenKeeper()):
            assert await kernel.load("notes", resource=RESOURCE, fresh=True) is None

    async def test_a_sign_out_elsewhere_wins_over_it(self, backend):
        one, two = TokenKeeper(), TokenKeeper()
        await one.save(a_record())
        await two.load("notes", resource=RESOURCE)
        backend.failure = OSError()
        await one.replace(a_record(access_token="new"), after=1)
        backend.failure = None
        await two.forget("notes")
        assert await one.load("notes", resource=RESOURCE) is None
        await one.save(a_record(server="other"))
        assert await two.load("notes", resource=RESOURCE, fresh=True) is None

    async def test_a_sign_in_elsewhere_wins_over_it(self, backend):
        one, two = TokenKeeper(), TokenKeeper()
        await one.save(a_record())
        backend.failure = OSError()
        await one.replace(a_record(access_token="lost"), after=1)
        backend.failure = None
        await two.save(a_record(access_token="theirs"))
        assert (await one.load("notes", resource=RESOURCE)).access_token == "theirs"

    async def test_a_sign_in_works_on_a_disk_that_cannot_be_written(self, kernels, monkeypatch):
        one, _ = kernels
        await one.load("notes", resource=RESOURCE)

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        assert (await one.save(a_record())).generation == 1
        assert await one.load("notes", resource=RESOURCE) is not None
        assert "No space left" in str(one.describe())

    async def test_a_store_that_cannot_be_read_is_not_an_empty_one(self, backend):
        await TokenKeeper().save(a_record())
        keeper = TokenKeeper()
        assert await keeper.load("other", resource=RESOURCE) is None
        backend.failure = LockedKeyring.failure
        with pytest.raises(TokenStoreError, match="locked") as caught:
            await keeper.load("notes", resource=RESOURCE)
        assert "%mcp store" in caught.value.hint
        assert await keeper.load("another", resource=RESOURCE) is None


class TestCopies:
    def test_a_record_is_neither_pickled_nor_deeply_copied(self):
        for work in (pickle.dumps, copy.deepcopy):
            with pytest.raises(TypeError):
                work(a_record())

    @pytest.mark.parametrize("store", [MemoryStore(), None], ids=["given", "chosen"])
    def test_a_keeper_is_not_pickled(self, store, private_home):
        keeper = TokenKeeper(store)
        with pytest.raises(TypeError):
            pickle.dumps(keeper)


def test_the_keyrings_of_the_tests_are_found_by_nobody_else():
    found = {type(backend) for backend in get_all_keyring()}
    assert found
    assert not found & {GoodKeyring, LockedKeyring, PlaintextKeyring}
