"""The keeper of the tokens: one for a process, in front of one store that all kernels share.

What was read once is answered from memory as long as the record's marker says that nobody has
written since; asking a keyring for every request would overwhelm it. A write compares the
generation it was made of with the kept one, under a lock between processes, so a late write never
undoes a sign-out. Everything that may block runs on the store's own thread (`auth.ledger`).
"""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from mcp_notebook.auth.current_store import CurrentStore
from mcp_notebook.auth.ledger import Ledger, StaleRecordError, entry_key
from mcp_notebook.auth.locks import RENEWING_SECONDS, Locks
from mcp_notebook.auth.record import TokenRecord
from mcp_notebook.auth.store_choice import (
    STORE_VARIABLE,
    StoreReport,
    not_used_yet,
    remember_store,
)
from mcp_notebook.auth.stores import StoreKind, TokenStore, is_shared
from mcp_notebook.config.places import home
from mcp_notebook.errors import TokenStoreError

__all__ = ["StaleRecordError", "StoreReport", "TokenKeeper", "open_keeper", "remember_store"]


class TokenKeeper:
    """Loads, keeps and forgets the tokens of every server. Its coroutines belong on one loop."""

    def __init__(self, store: TokenStore | None = None) -> None:
        """Makes a keeper; no record is read and no store contacted yet.

        Args:
            store: The store to use; None for the one that is chosen (see `open_keeper`), which is
                opened on first use.

        Raises:
            TokenStoreError: ``MCP_NOTEBOOK_TOKEN_STORE`` names no store.
        """
        self._current = CurrentStore(home(), store)
        self._locks = Locks(home() / "locks")
        self._ledger = Ledger(home(), self._locks)
        self._noticed = ""

    def __reduce_ex__(self, protocol: object) -> Any:
        raise TypeError("a TokenKeeper knows secrets and is not pickled")

    async def load(self, name: str, *, resource: str, fresh: bool = False) -> TokenRecord | None:
        """Returns what is kept of a server, or None.

        Args:
            name: The server's name.
            resource: The server's address; a record of another one is absent.
            fresh: Ask the store even where nothing has changed.

        Raises:
            TokenStoreError: A sign-in is kept, but the store cannot be read.
        """
        cached = self._ledger.cached(name)
        known = cached is not None and self._current.shared and cached.stamp == self._stamp(name)
        if fresh or cached is None or not known:
            record = await self._read(name)
        else:
            record = cached.record
        # The entry may have been copied from another name or home, or the server's address
        # changed: a token goes nowhere but where it was issued for.
        if record is None or (record.server, record.resource) != (name, resource):
            return None
        return record

    async def _read(self, name: str) -> TokenRecord | None:
        self._current.follow()
        store = await self._current.ready()
        try:
            return await self._current.run(store, lambda: self._ledger.read(store, name))
        except TokenStoreError as error:
            self._ledger.failure = error.message
            if name in self._ledger.unwritten:
                return self._ledger.unwritten[name].record
            cached = self._ledger.cached(name)
            if self._stamp(name) or (cached is not None and cached.record is not None):
                raise  # something is kept: to answer "nothing" would ask for a sign-in
            return None

    async def save(self, record: TokenRecord) -> TokenRecord:
        """Keeps a record whatever was kept before: a person has just signed in.

        Returns:
            The record with its generation. If the store fails, it is kept in memory, and
            `describe` says so.
        """
        return await self._write(record, None)

    async def replace(self, record: TokenRecord, *, after: int) -> TokenRecord:
        """Keeps a record only if the kept one is still of the generation `after`.

        Returns:
            The record with its generation. If the store fails, it is kept in memory, and
            `describe` says so.

        Raises:
            StaleRecordError: Somebody has signed out, in, or renewed meanwhile.
        """
        return await self._write(record, after)

    async def _write(self, record: TokenRecord, after: int | None) -> TokenRecord:
        store = await self._current.ready()
        try:
            return await self._current.run(store, lambda: self._ledger.commit(store, record, after))
        except TokenStoreError as error:
            failed = error
        return self._ledger.hold(record, after, failed, shared=is_shared(store))

    async def forget(self, name: str) -> None:
        """Deletes what is kept of a server, here and for every kernel.

        Raises:
            TokenStoreError: The store could not delete it. It is forgotten in this kernel, and
                deleted with the next write that succeeds.
        """
        store = await self._current.ready()
        try:
            await self._current.run(store, lambda: self._ledger.erase(store, name))
        except TokenStoreError as error:
            self._ledger.hold_removal(name, error, shared=is_shared(store))
            raise TokenStoreError(
                f"The sign-in of {name} is forgotten in this kernel, but still kept: "
                f"{error.message}",
                hint=error.hint,
            ) from None

    @asynccontextmanager
    async def refreshing(
        self, name: str, *, seconds: float = RENEWING_SECONDS
    ) -> AsyncIterator[None]:
        """Makes its holder the only one who renews a server's tokens, in all processes.

        Whoever gets it reads with ``fresh=True`` first: it may have been renewed meanwhile.

        Raises:
            TokenStoreError: It could not be had within so many seconds.
        """
        store = await self._current.ready()
        async with self._locks.renewing(entry_key(name), shared=is_shared(store), seconds=seconds):
            yield

    async def probe(self) -> StoreReport:
        """Writes, reads and deletes something, so that a person knows before signing in.

        A keyring that could not be used before is tried again, and takes what was kept in memory.
        """
        store = await self._current.ready()
        try:
            if self._current.fallback:
                await self._move(store, await self._current.open(self._current.wanted))
            elif is_shared(store):
                await self._current.run(store, lambda: self._ledger.probe(store))
        except TokenStoreError as error:
            if self._current.fallback:
                self._current.fallback = error.message
            else:
                self._ledger.failure = error.message
        return self.describe()

    def describe(self) -> StoreReport:
        """Returns which store is used and what survives, without asking it."""
        store, unwritten = self._current.opened, self._ledger.unwritten
        if store is None:
            return not_used_yet(self._current.wanted)
        problems = [self._current.fallback, self._ledger.failure, store.problem]
        if unwritten and not self._ledger.failure:
            problems.append("The last change of a sign-in could not be written.")
        named = os.environ.get(STORE_VARIABLE, "").strip().lower()
        if named and named != self._current.wanted:
            problems.append(f"Later kernels will use {named}: {STORE_VARIABLE} says so.")
        return StoreReport(
            store.kind,
            store.where,
            survives=is_shared(store) and not unwritten,
            problem=" ".join(line for line in problems if line),
        )

    def notice(self) -> str:
        """Returns what a person should be told about the store; each trouble only once."""
        report = self.describe()
        if not report.problem or report.problem == self._noticed:
            return ""
        self._noticed = report.problem
        return str(report)

    async def change_store(self, kind: StoreKind) -> StoreReport:
        """Moves every sign-in to another store, for this and all later kernels.

        Raises:
            TokenStoreError: The other store cannot be used, or a kernel is just renewing.
        """
        old = await self._current.ready()
        if old.kind == kind:
            self._current.use(old)
            self._remember(kind)
        else:
            await self._move(old, await self._current.open(kind), remember=True)
        return self.describe()

    async def _move(self, old: TokenStore, new: TokenStore, *, remember: bool = False) -> None:
        names, run = self._ledger.names(), self._current.run
        async with AsyncExitStack() as held:
            for name in names:  # nobody renews a token that is on its way
                await held.enter_async_context(self.refreshing(name))
            try:
                records = await run(old, lambda: self._ledger.collect(old, names))
            except TokenStoreError:  # it is left because it does not work: what is known here goes
                records = self._ledger.known()
            await run(new, lambda: self._ledger.adopt(new, records))
            self._current.use(new)
            if remember:
                self._remember(new.kind)
            try:
                await run(old, lambda: self._ledger.discard(old, records, new))
            except TokenStoreError as error:
                self._ledger.failure = f"Sign-ins are still kept in {old.where}: {error.message}"

    def _remember(self, kind: StoreKind) -> None:
        try:
            remember_store(kind)
        except TokenStoreError as error:  # then it is this kernel's choice alone
            self._current.pinned, self._ledger.failure = True, error.message

    def _stamp(self, name: str) -> bytes:
        return self._ledger.stamp(name, shared=self._current.shared)


_lock = threading.Lock()
_current: tuple[tuple[object, ...], TokenKeeper] | None = None


def open_keeper() -> TokenKeeper:
    """Returns the process's one keeper; no record is read and no store contacted yet.

    The store is the one that ``MCP_NOTEBOOK_TOKEN_STORE`` names (keyring, file or memory), else
    the one remembered by `TokenKeeper.change_store`, else the keyring where the machine has one
    that keeps secrets, else memory.

    Raises:
        TokenStoreError: ``MCP_NOTEBOOK_TOKEN_STORE`` names no store.
    """
    global _current
    fitting = (home(), os.environ.get(STORE_VARIABLE))
    with _lock:
        if _current is None or _current[0] != fitting:
            _current = (fitting, TokenKeeper())
        return _current[1]


def _forget_after_fork() -> None:
    # The child has neither the parent's thread nor its locks.
    global _current, _lock
    _current, _lock = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)
