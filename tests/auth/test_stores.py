"""Every store keeps the same contract; and each has dangers of its own."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mcp_notebook.auth.keyring_store import KeyringStore, usable_backend
from mcp_notebook.auth.record import TokenRecord
from mcp_notebook.auth.stores import FileStore, MemoryStore, TokenStore
from mcp_notebook.errors import TokenStoreError
from tests.auth.keyrings import (
    AskingKeyring,
    BrokenKeyring,
    ChainOf,
    ForgetfulKeyring,
    GoodKeyring,
    PlaintextKeyring,
    WindowsLikeKeyring,
)

KEY = "0123456789abcdef"
OTHER = "fedcba9876543210"
IN_SECRET_SERVICE = "TESTS_RUN_IN_A_SECRET_SERVICE"
KINDS = ["memory", "file", "keyring", "windows"]
if os.environ.get(IN_SECRET_SERVICE):
    KINDS = ["secret-service"]


def a_record(**changes: Any) -> TokenRecord:
    record = TokenRecord(
        server="notes",
        resource="https://notes.example/mcp",
        issuer="https://login.example",
        token_endpoint="https://login.example/token",
        client_id="client",
        access_token="planted-access-" + "a" * 1500,
        refresh_token="planted-refresh-ü" + "r" * 700,
        expires_at=1_900_000_000.5,
        generation=1,
    )
    return replace(record, **changes)


@pytest.fixture(params=KINDS)
def store(request, tmp_path) -> TokenStore:
    match request.param:
        case "memory":
            return MemoryStore()
        case "file":
            return FileStore(tmp_path / "tokens")
        case "keyring":
            return KeyringStore(backend=GoodKeyring())
        case "windows":
            return KeyringStore(backend=WindowsLikeKeyring(), chunked=True)
        case _:
            return KeyringStore(realm=tmp_path.name)


class TestContract:
    def test_what_is_saved_is_loaded(self, store):
        store.save(KEY, a_record())
        assert store.load(KEY) == a_record()

    def test_what_was_never_saved_is_absent(self, store):
        assert store.load(KEY) is None

    def test_a_record_takes_the_place_of_the_one_before(self, store):
        for generation in range(1, 6):
            token = "t" * (generation % 3 * 1400)
            store.save(KEY, a_record(generation=generation, refresh_token=token or None))
            assert store.load(KEY).generation == generation
            assert (store.load(KEY).refresh_token or "") == token

    def test_records_do_not_touch_each_other(self, store):
        store.save(KEY, a_record())
        store.save(OTHER, a_record(server="other"))
        store.forget(KEY)
        assert store.load(KEY) is None
        assert store.load(OTHER).server == "other"

    def test_forgetting_twice_or_nothing_is_no_error(self, store):
        store.forget(KEY)
        store.save(KEY, a_record())
        store.forget(KEY)
        store.forget(KEY)
        assert store.load(KEY) is None

    def test_after_forgetting_it_can_be_saved_again(self, store):
        store.save(KEY, a_record())
        store.forget(KEY)
        store.save(KEY, a_record(generation=7))
        assert store.load(KEY).generation == 7

    def test_a_probe_leaves_everything_as_it_was(self, store):
        store.save(KEY, a_record())
        store.probe()
        assert store.load(KEY) == a_record()

    def test_no_token_shows_in_its_repr_or_place(self, store):
        store.save(KEY, a_record())
        assert "planted" not in repr(store) + str(vars(store)) + store.where + store.problem


class TestFiles:
    @pytest.fixture
    def directory(self, tmp_path) -> Path:
        return tmp_path / "deep" / "tokens"

    @pytest.fixture
    def files(self, directory) -> FileStore:
        return FileStore(directory)

    def test_they_are_private_from_the_first_moment_whatever_the_umask(
        self, files, directory, monkeypatch
    ):
        seen = []
        opened = os.open

        def watching(path, *arguments, **named):
            descriptor = opened(path, *arguments, **named)
            seen.append((str(path), stat.S_IMODE(os.fstat(descriptor).st_mode)))
            return descriptor

        monkeypatch.setattr(os, "open", watching)
        before = os.umask(0)
        try:
            files.save(KEY, a_record())
        finally:
            os.umask(before)
        modes = [mode for path, mode in seen if path.endswith(".new")]
        assert modes == [0o600]
        assert stat.S_IMODE((directory / f"{KEY}.json").stat().st_mode) == 0o600
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        assert stat.S_IMODE(directory.parent.stat().st_mode) == 0o700

    def test_what_somebody_has_put_in_its_way_is_neither_followed_nor_opened(
        self, files, directory, tmp_path, monkeypatch
    ):
        directory.mkdir(parents=True)
        monkeypatch.setattr("mcp_notebook.config.places.secrets.token_hex", lambda _: "guessed")
        elsewhere = tmp_path / "elsewhere"
        (directory / f".{KEY}.json.guessed.new").symlink_to(elsewhere)
        with pytest.raises(TokenStoreError):
            files.save(KEY, a_record())
        assert not elsewhere.exists()
        assert files.load(KEY) is None

    def test_nothing_is_on_the_disk_before_the_first_write(self, files, directory):
        assert files.load(KEY) is None
        files.forget(KEY)
        assert not directory.parent.exists()

    @pytest.mark.skipif(os.name == "nt", reason="files have no owner's number there")
    def test_a_file_of_another_user_is_refused(self, files, monkeypatch):
        files.save(KEY, a_record())
        us = os.geteuid()
        monkeypatch.setattr(os, "geteuid", lambda: us + 1)
        with pytest.raises(TokenStoreError, match="another user"):
            files.load(KEY)

    @pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
    def test_a_file_that_others_can_read_is_refused(self, files, directory, mode):
        files.save(KEY, a_record())
        (directory / f"{KEY}.json").chmod(mode)
        with pytest.raises(TokenStoreError, match="open to other users") as caught:
            files.load(KEY)
        assert "chmod" in caught.value.hint
        with pytest.raises(TokenStoreError):
            files.save(KEY, a_record(generation=2))

    def test_a_link_is_neither_read_nor_written_through(self, files, directory, tmp_path):
        files.save(KEY, a_record())
        stolen = tmp_path / "elsewhere.json"
        (directory / f"{KEY}.json").rename(stolen)
        (directory / f"{KEY}.json").symlink_to(stolen)
        with pytest.raises(TokenStoreError, match="is a link"):
            files.load(KEY)
        with pytest.raises(TokenStoreError, match="is a link"):
            files.save(KEY, a_record(generation=2))
        assert json.loads(stolen.read_text())["generation"] == 1

    def test_a_directory_that_is_a_link_or_open_is_refused(self, tmp_path):
        real = tmp_path / "real"
        real.mkdir(mode=0o700)
        (tmp_path / "link").symlink_to(real)
        with pytest.raises(TokenStoreError):
            FileStore(tmp_path / "link").save(KEY, a_record())
        real.chmod(0o755)
        with pytest.raises(TokenStoreError, match="open to other users"):
            FileStore(real).probe()
        assert list(real.iterdir()) == []

    def test_a_pipe_in_its_place_does_not_block(self, files, directory):
        files.probe()
        os.mkfifo(directory / f"{KEY}.json", 0o600)
        with pytest.raises(TokenStoreError):
            files.load(KEY)

    @pytest.mark.parametrize("failing", ["fsync", "replace"])
    def test_a_write_that_fails_leaves_the_old_record_and_no_litter(
        self, files, directory, monkeypatch, failing
    ):
        files.save(KEY, a_record())

        def full(*_: Any) -> None:
            raise OSError(28, "No space left on device")

        if failing == "fsync":
            monkeypatch.setattr(os, "fsync", full)
        else:
            monkeypatch.setattr(Path, "replace", full)
        with pytest.raises(TokenStoreError, match="No space left on device") as caught:
            files.save(KEY, a_record(generation=2))
        assert "planted" not in str(caught.value)
        assert files.load(KEY) == a_record()
        assert [path.name for path in directory.iterdir()] == [f"{KEY}.json"]

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"\x00\xff",
            b"[]",
            b"[" * 100_000,
            b'{"schema": 1}',
            json.dumps({**a_record().to_json(), "schema": 2}).encode(),
            json.dumps({**a_record().to_json(), "generation": "1"}).encode(),
        ],
    )
    def test_a_damaged_or_newer_record_is_absent_and_kept_aside(self, files, directory, content):
        files.probe()
        path = directory / f"{KEY}.json"
        path.touch(0o600)
        path.write_bytes(content)
        assert files.load(KEY) is None
        assert files.problem
        assert path.read_bytes() == content  # reading changes nothing
        files.save(KEY, a_record())
        assert files.load(KEY) == a_record()
        assert (directory / f"{KEY}.aside").read_bytes() == content
        files.forget(KEY)
        assert list(directory.iterdir()) == []


class TestChunks:
    """The Windows limit, and what a write that is cut off leaves."""

    @pytest.fixture
    def backend(self) -> WindowsLikeKeyring:
        return WindowsLikeKeyring()

    @pytest.fixture
    def chunked(self, backend) -> KeyringStore:
        return KeyringStore(backend=backend, chunked=True)

    def test_a_record_beyond_the_limit_would_not_fit_in_one_piece(self, backend):
        with pytest.raises(TokenStoreError) as caught:
            KeyringStore(backend=backend, chunked=False).save(KEY, a_record())
        assert caught.value.__cause__ is None
        assert "planted" not in str(caught.value)

    @pytest.mark.parametrize("writes", range(5))
    def test_the_old_record_stays_readable_wherever_the_write_is_cut_off(
        self, chunked, backend, writes
    ):
        chunked.save(KEY, a_record())
        backend.writes_left = writes
        with pytest.raises(TokenStoreError):
            chunked.save(KEY, a_record(generation=2, access_token="n" * 3000))
        assert chunked.load(KEY) == a_record()
        backend.writes_left = float("inf")
        chunked.save(KEY, a_record(generation=3))
        assert chunked.load(KEY).generation == 3
        chunked.forget(KEY)
        assert backend.entries == {}

    def test_a_killed_writer_leaves_no_garbage_behind_the_next_write(self, chunked, backend):
        chunked.save(KEY, a_record())
        whole = dict(backend.entries)
        # What a process leaves that is killed before its header: chunks of the other slot.
        chunked.save(KEY, a_record(generation=2, access_token="n" * 9000))
        left = {name: entry for name, entry in backend.entries.items() if name not in whole}
        backend.entries = {**whole, **left}
        assert chunked.load(KEY) == a_record()
        chunked.save(KEY, a_record(generation=3))
        assert chunked.load(KEY).generation == 3
        assert len(backend.entries) == len(whole) + 1  # and what Windows copies of a header
        chunked.forget(KEY)
        assert backend.entries == {}

    def test_chunks_that_do_not_agree_with_the_header_are_absent(self, chunked, backend):
        chunked.save(KEY, a_record())
        name = next(name for name in backend.entries if name.endswith("/a1"))
        user, value = backend.entries[name]
        backend.entries[name] = (user, value[:-1] + "?")
        assert chunked.load(KEY) is None
        assert chunked.problem
        del backend.entries[name]
        assert chunked.load(KEY) is None

    @pytest.mark.parametrize("header", ["", "[]", "{}", '{"n": 1e9}', '{"n": 9999999}', '{"n":-1}'])
    def test_a_header_that_is_none_is_absent(self, chunked, backend, header):
        chunked.save(KEY, a_record())
        name = next(name for name in backend.entries if name.endswith(KEY))
        backend.entries[name] = (backend.entries[name][0], header)
        assert chunked.load(KEY) is None
        chunked.save(KEY, a_record(generation=5))
        assert chunked.load(KEY).generation == 5
        chunked.forget(KEY)
        assert backend.entries == {}

    def test_a_reader_meets_the_new_record_when_it_is_written_under_its_eyes(self, backend):
        writer = KeyringStore(backend=backend, chunked=True)
        writer.save(KEY, a_record())
        read, at_work = backend.get_password, []

        def reading(service: str, username: str) -> str | None:
            value = read(service, username)
            if service.endswith(KEY) and not at_work:
                at_work.append(True)
                writer.save(KEY, a_record(generation=2))
            return value

        backend.get_password = reading  # type: ignore[method-assign]
        assert KeyringStore(backend=backend, chunked=True).load(KEY).generation == 2

    def test_the_copies_that_windows_makes_hold_no_token(self, chunked, backend):
        chunked.save(KEY, a_record())
        chunked.save(KEY, a_record(generation=2))
        chunked.save(KEY, a_record(generation=3))
        copies = [value for name, (_, value) in backend.entries.items() if "@" in name]
        assert copies
        assert "planted" not in "".join(copies)

    def test_the_most_tokens_that_are_kept_have_an_end(self, chunked):
        with pytest.raises(TokenStoreError, match="too long"):
            chunked.save(KEY, a_record(access_token="a" * 100_000))
        assert chunked.load(KEY) is None

    def test_one_entry_holds_the_record_where_there_is_no_limit(self):
        backend = GoodKeyring()
        KeyringStore(backend=backend, chunked=False).save(KEY, a_record(access_token="a" * 9000))
        assert len(backend.entries) == 1  # macOS asks its owner once for each


class TestBackends:
    def test_fail_and_null_are_refused(self):
        from keyring.backends import fail, null

        for backend in (fail.Keyring(), null.Keyring()):
            with pytest.raises(TokenStoreError, match="no keyring") as caught:
                usable_backend(backend)
            assert "%mcp store file" in caught.value.hint

    def test_what_keeps_no_secret_is_refused(self):
        for backend in (PlaintextKeyring(), AskingKeyring()):
            with pytest.raises(TokenStoreError, match="does not protect"):
                usable_backend(backend)

    def test_a_chain_counts_as_its_first_member_and_only_that_is_used(self):
        good, plain = GoodKeyring(), PlaintextKeyring()
        with pytest.raises(TokenStoreError, match="does not protect"):
            usable_backend(ChainOf(plain, good))
        assert usable_backend(ChainOf(good, plain)) is good
        assert usable_backend(ChainOf(ChainOf(good))) is good

    def test_an_empty_chain_is_refused(self):
        with pytest.raises(TokenStoreError):
            usable_backend(ChainOf())

    def test_one_that_forgets_is_found_out_by_the_probe(self):
        with pytest.raises(TokenStoreError, match="forgets"):
            KeyringStore(backend=ForgetfulKeyring()).probe()

    def test_a_probe_leaves_nothing(self):
        backend = GoodKeyring()
        KeyringStore(backend=backend).probe()
        assert backend.entries == {}
        assert backend.reads

    @pytest.mark.parametrize(
        "failure",
        [
            OSError(1783, "CredWrite", "planted"),
            AssertionError("planted"),
            EOFError("planted"),
            RuntimeError("planted"),
            ImportError("planted"),
        ],
        ids=lambda failure: type(failure).__name__,
    )
    def test_whatever_it_raises_is_one_error_without_values(self, failure):
        backend = BrokenKeyring()
        store = KeyringStore(backend=backend)
        backend.failure = failure
        for work in (
            store.probe,
            lambda: store.load(KEY),
            lambda: store.save(KEY, a_record()),
            lambda: store.forget(KEY),
        ):
            with pytest.raises(TokenStoreError) as caught:
                work()
            assert "planted" not in str(caught.value)
            assert caught.value.hint
            assert caught.value.__suppress_context__

    def test_a_backend_that_cannot_be_imported_is_told_like_the_others(self, monkeypatch):
        import keyring.core

        monkeypatch.setattr(keyring.core, "_keyring_backend", None)
        monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "no_such_module.Keyring")
        with pytest.raises(TokenStoreError):
            KeyringStore()


def test_the_contract_holds_on_a_real_secret_service(tmp_path):
    needed = ["dbus-run-session", "gnome-keyring-daemon"]
    missing = [name for name in needed if shutil.which(name) is None]
    if missing:
        if os.environ.get("CI") == "true":
            pytest.fail(f"this machine lacks {', '.join(missing)}")
        pytest.skip(f"this machine lacks {', '.join(missing)}")
    environment = {
        **os.environ,
        IN_SECRET_SERVICE: "1",
        "HOME": str(tmp_path),
        "XDG_DATA_HOME": str(tmp_path / "data"),
        "XDG_RUNTIME_DIR": str(tmp_path),
        "PYTHON_KEYRING_BACKEND": "keyring.backends.SecretService.Keyring",
    }
    unlock = "printf password | gnome-keyring-daemon --unlock --components=secrets >/dev/null"
    tests = f"{Path(__file__)} -k TestContract -q -p no:cacheprovider"
    run = subprocess.run(
        ["dbus-run-session", "--", "sh", "-c", f"{unlock} && {sys.executable} -m pytest {tests}"],
        env=environment,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "8 passed" in run.stdout
