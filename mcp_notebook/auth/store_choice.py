"""Which store is used: what the environment says, else what the person chose, else the keyring."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import get_args

from mcp_notebook.auth.stores import MemoryStore, StoreKind
from mcp_notebook.config.places import home
from mcp_notebook.config.statefile import StateFile
from mcp_notebook.errors import ServerConfigError, TokenStoreError
from mcp_notebook.redaction import printable

STORE_VARIABLE = "MCP_NOTEBOOK_TOKEN_STORE"


@dataclass(frozen=True, slots=True)
class StoreReport:
    """Where sign-ins are kept, for people; ``str()`` of it is a few sentences.

    Attributes:
        kind: The store in use.
        where: The keyring's kind, the directory, or the memory.
        survives: Whether all sign-ins outlive this kernel.
        problem: What is wrong with that, or ``""``.
    """

    kind: StoreKind
    where: str
    survives: bool
    problem: str = ""

    def __str__(self) -> str:
        lines = [f"Sign-ins are kept in {self.where}."]
        if self.kind == "file":
            lines.append("Only you can read them; they are not encrypted.")
        if self.survives:
            lines.append("They survive a restart and serve all your notebooks on this machine.")
        else:
            lines.append("They end with this kernel.")
        if self.problem:
            lines.insert(0, self.problem)
        if not self.survives and self.kind == "memory":
            lines.append("To keep them on disk from now on: %mcp store file")
        return "\n".join(lines)


def not_used_yet(kind: StoreKind) -> StoreReport:
    """Returns what is said of a store that nobody has had to look into yet."""
    where = {
        "keyring": "the system's keyring",
        "file": "files of your own",
        "memory": MemoryStore.where,
    }[kind]
    return StoreReport(kind, f"{where} (not used yet)", survives=kind != "memory")


def pinned_store() -> StoreKind | None:
    """Returns the store that ``MCP_NOTEBOOK_TOKEN_STORE`` names, or None where it is not set.

    Raises:
        TokenStoreError: It names none that there is.
    """
    value = os.environ.get(STORE_VARIABLE, "").strip().lower()
    if not value:
        return None
    kind = _kind(value)
    if kind is None:
        raise TokenStoreError(
            f"{STORE_VARIABLE} is {printable(value, 40)!r}, which is no store.",
            hint=f"It is one of {', '.join(get_args(StoreKind))}.",
        )
    return kind


def remembered_store() -> StoreKind | None:
    """Returns the store the person chose for all kernels, or None."""
    try:
        return _kind(_settings().read().get("store"))
    except ServerConfigError:  # unreadable settings are no settings
        return None


def remember_store(kind: StoreKind) -> None:
    """Remembers the person's choice for every later kernel.

    Raises:
        TokenStoreError: It could not be written.
    """
    try:
        with _settings().changing() as settings:
            settings["store"] = kind
    except ServerConfigError as error:
        raise TokenStoreError(error.message, hint=error.hint) from None


def _settings() -> StateFile:
    return StateFile(home() / "settings.json", "the settings")


def _kind(value: object) -> StoreKind | None:
    kinds: tuple[StoreKind, ...] = get_args(StoreKind)
    return next((kind for kind in kinds if kind == value), None)
