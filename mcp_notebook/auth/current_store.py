"""The store in use: opened on first use, exchanged where the person chooses another.

The chosen store may turn out unusable (no keyring in a container, a locked one). Memory then takes
its place, and the reason is kept for whoever asks. Each kind of store has one thread.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from mcp_notebook.auth.keyring_store import KeyringStore
from mcp_notebook.auth.store_choice import pinned_store, remembered_store
from mcp_notebook.auth.store_thread import StoreThread
from mcp_notebook.auth.stores import FileStore, MemoryStore, StoreKind, TokenStore, is_shared
from mcp_notebook.config.places import HOME_VARIABLE
from mcp_notebook.errors import TokenStoreError

T = TypeVar("T")


class CurrentStore:
    """Opens stores, and runs what may block on their threads.

    Attributes:
        wanted: The store that was chosen.
        fallback: Why memory is used instead, or ``""``.
        pinned: Whether the choice is this process's own, whatever others choose.
    """

    def __init__(self, home: Path, store: TokenStore | None = None) -> None:
        named = pinned_store()
        self._home = home
        self._opened = store
        self._keyring: KeyringStore | None = None
        self._threads: dict[StoreKind, StoreThread] = {}
        self.pinned = store is not None or named is not None
        self.fallback = ""
        self.wanted: StoreKind = (
            store.kind if store is not None else named or remembered_store() or "keyring"
        )

    @property
    def opened(self) -> TokenStore | None:
        """The store, once it has been opened."""
        return self._opened

    @property
    def shared(self) -> bool:
        """Whether other processes see what is kept, as far as is known."""
        return self._opened is None or is_shared(self._opened)

    async def ready(self) -> TokenStore:
        """Returns the store, opened where it was not yet; memory where it cannot be used."""
        if self._opened is not None:
            return self._opened
        problem = ""
        try:
            store = await self.open(self.wanted)
        except TokenStoreError as error:
            store, problem = MemoryStore(), error.message
        if self._opened is None:  # somebody else may have waited for the same thing
            self._opened, self.fallback = store, problem
        return self._opened

    async def open(self, kind: StoreKind) -> TokenStore:
        """Returns a store that has been tried.

        Raises:
            TokenStoreError: It cannot be used.
        """
        if kind == "memory":
            return MemoryStore()
        if kind == "file":
            files = FileStore(self._home / "tokens")
            await self.run(files, files.probe)
            return files
        return await self._thread(kind).run(self._open_keyring)

    def use(self, store: TokenStore) -> None:
        """Makes another store the one in use."""
        self._opened, self.wanted, self.fallback = store, store.kind, ""

    def follow(self) -> None:
        """Takes over what the person has chosen in another kernel."""
        chosen = None if self.pinned else remembered_store()
        if chosen is not None and chosen != self.wanted:
            self.wanted, self._opened, self.fallback = chosen, None, ""

    async def run(self, store: TokenStore, job: Callable[[], T]) -> T:
        """Returns what the job returns, run where its blocking harms nobody.

        Raises:
            SilentStoreError: The store has not answered in time.
        """
        return await self._thread(store.kind).run(job) if is_shared(store) else job()

    def _open_keyring(self) -> TokenStore:
        # Many sessions may ask at once for what one of them has just opened.
        if self._keyring is None:
            store = KeyringStore(realm=self._realm())
            store.probe()
            self._keyring = store
        return self._keyring

    def _realm(self) -> str:
        # Names and locks are those of one home, so the records are too.
        if not os.environ.get(HOME_VARIABLE):
            return ""
        return hashlib.sha256(os.fsencode(self._home.resolve())).hexdigest()[:12]

    def _thread(self, kind: StoreKind) -> StoreThread:
        return self._threads.setdefault(kind, StoreThread())
