"""Keyring backends: good, limited, broken and unwilling ones, as ``keyring`` itself sees them."""

from __future__ import annotations

import threading

import keyring.core
import pytest
from keyring.backend import KeyringBackend
from keyring.errors import KeyringLocked, PasswordDeleteError


class _Backend(KeyringBackend):
    priority = 5.0  # type: ignore[assignment]
    # Whatever else looks for the machine's keyring in this process must not find these.
    viable = False  # type: ignore[assignment]


class GoodKeyring(_Backend):
    """Keeps everything, and who called it how often."""

    def __init__(self) -> None:
        self.entries: dict[tuple[str, str], str] = {}
        self.threads: set[str] = set()
        self.reads = 0

    def get_password(self, service: str, username: str) -> str | None:
        self.threads.add(threading.current_thread().name)
        self.reads += 1
        return self.entries.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.threads.add(threading.current_thread().name)
        self.entries[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        if self.entries.pop((service, username), None) is None:
            raise PasswordDeleteError(service)


class WindowsLikeKeyring(_Backend):
    """Does what WinVaultKeyring does: 2,560 bytes of UTF-16, one user name for each service.

    A value that is written over is first copied to ``user@service``.
    """

    def __init__(self) -> None:
        self.entries: dict[str, tuple[str, str]] = {}
        self.writes_left: float = float("inf")

    def get_password(self, service: str, username: str) -> str | None:
        found = self.entries.get(service)
        if found is None or found[0] != username:
            found = self.entries.get(f"{username}@{service}")
        return found and found[1]

    def set_password(self, service: str, username: str, password: str) -> None:
        if self.writes_left <= 0:
            raise OSError("the machine was switched off")
        self.writes_left -= 1
        if len(password.encode("utf-16-le")) > 2560:
            raise OSError(1783, "CredWrite", "The stub received bad data")
        if service in self.entries:
            before = self.entries[service]
            self.entries[f"{before[0]}@{service}"] = before
        self.entries[service] = (username, password)

    def delete_password(self, service: str, username: str) -> None:
        names = [name for name in (service, f"{username}@{service}") if name in self.entries]
        if not names:
            raise PasswordDeleteError(service)
        for name in names:
            del self.entries[name]


class BrokenKeyring(GoodKeyring):
    """Works until it is given something to raise."""

    failure: BaseException | None = None

    def get_password(self, service: str, username: str) -> str | None:
        if self.failure:
            raise self.failure
        return super().get_password(service, username)

    def set_password(self, service: str, username: str, password: str) -> None:
        if self.failure:
            raise self.failure
        super().set_password(service, username, password)

    def delete_password(self, service: str, username: str) -> None:
        if self.failure:
            raise self.failure
        super().delete_password(service, username)


class LockedKeyring(BrokenKeyring):
    """Its owner has dismissed the question for the password."""

    failure = KeyringLocked("Failed to unlock the collection!")


class SilentKeyring(GoodKeyring):
    """Waits for its password as long as it is locked."""

    def __init__(self) -> None:
        super().__init__()
        self.unlocked = threading.Event()
        self.reads_are_silent = True

    def get_password(self, service: str, username: str) -> str | None:
        if self.reads_are_silent:
            self.unlocked.wait(30)
        return super().get_password(service, username)

    def set_password(self, service: str, username: str, password: str) -> None:
        self.unlocked.wait(30)
        super().set_password(service, username, password)


class ForgetfulKeyring(GoodKeyring):
    """Takes everything and keeps nothing, as one of a dead session does."""

    def set_password(self, service: str, username: str, password: str) -> None:
        pass


class PlaintextKeyring(GoodKeyring):
    priority = 0.5  # type: ignore[assignment]


class AskingKeyring(GoodKeyring):
    """Asks on the terminal for a password, where there is no terminal."""

    priority = 0.6  # type: ignore[assignment]

    def get_password(self, service: str, username: str) -> str | None:
        raise EOFError

    set_password = get_password  # type: ignore[assignment]


class ChainOf(_Backend):
    """Several backends as one: reads from all, writes to the first."""

    priority = 10.0  # type: ignore[assignment]

    def __init__(self, *backends: KeyringBackend) -> None:
        self.backends = list(backends)

    def get_password(self, service: str, username: str) -> str | None:
        found = (backend.get_password(service, username) for backend in self.backends)
        return next((value for value in found if value is not None), None)

    def set_password(self, service: str, username: str, password: str) -> None:
        self.backends[0].set_password(service, username, password)

    def delete_password(self, service: str, username: str) -> None:
        self.backends[0].delete_password(service, username)


def use_keyring(monkeypatch: pytest.MonkeyPatch, backend: object) -> None:
    """Makes it the machine's keyring, and the keyring the store."""
    monkeypatch.setattr(keyring.core, "_keyring_backend", backend)
    monkeypatch.delenv("MCP_NOTEBOOK_TOKEN_STORE")
