"""Small files without secrets by which kernels notice each other's writes.

A keyring cannot be listed, and asking it is slow. So beside every kept record lies a marker: a
file with the server's name and a value that changes with every write. Reading it tells that the
cached record is still the kept one; all of them together are the list of names. A marker that is
lost or damaged costs one more look into the store and nothing else.
"""

from __future__ import annotations

import contextlib
import json
import secrets
from pathlib import Path

from mcp_notebook.config.places import write_private

_BYTES_AT_MOST = 4096
_FLOOR = "floor"


class Markers:
    """The markers of one home. Nothing in here raises: a read-only home is worked with."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def stamp(self, key: str) -> bytes:
        """Returns a value that differs after every write, and is empty where nothing is kept.

        It is the content, not the time of the file: clocks of network file systems are coarse.
        """
        try:
            # Looked at for every request: a buffer would cost as much again as the file.
            with (self._directory / f"{key}.json").open("rb", buffering=0) as file:
                return file.read(_BYTES_AT_MOST)
        except OSError:
            return b""

    def touch(self, key: str, name: str, generation: int) -> None:
        """Tells that a record was written."""
        marker = {"name": name, "generation": generation, "stamp": secrets.token_hex(8)}
        self._write(f"{key}.json", marker)

    def remove(self, key: str, generation: int) -> None:
        """Tells that the record, of this generation, is gone, and takes its name off the list."""
        generation = max(generation, self.generation(key))
        if generation > self.floor():
            self._write(f"{_FLOOR}.json", {"generation": generation})
        with contextlib.suppress(OSError):
            (self._directory / f"{key}.json").unlink()

    def generation(self, key: str) -> int:
        """Returns the generation last written, as far as it is known."""
        generation = self._read(key).get("generation")
        return generation if isinstance(generation, int) else 0

    def floor(self) -> int:
        """Returns the greatest generation that was ever forgotten.

        A sign-in after a sign-out begins above it: otherwise it could have the very generation
        that a kernel's late write was made of.
        """
        return self.generation(_FLOOR)

    def names(self) -> list[str]:
        """Returns the names of the servers of which something is kept."""
        names = []
        with contextlib.suppress(OSError):
            for path in sorted(self._directory.glob("*.json")):
                name = self._read(path.stem).get("name")
                if isinstance(name, str):
                    names.append(name)
        return names

    def _read(self, key: str) -> dict[str, object]:
        try:
            document = json.loads(self.stamp(key))
        except (ValueError, RecursionError):
            return {}
        return document if isinstance(document, dict) else {}

    def _write(self, name: str, document: dict[str, object]) -> None:
        with contextlib.suppress(OSError):
            write_private(self._directory / name, json.dumps(document).encode())
