"""One kernel as a process of its own: does what its arguments say, a line at a time.

    python -m tests.auth.kernel renew|hold|late FOLDER

It prints a line when it is ready, goes on when it is given one, and prints what became of it.
"""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import replace
from pathlib import Path

from mcp_notebook.auth.tokens import StaleRecordError, TokenKeeper

RESOURCE = "https://notes.example/mcp"


def say(line: str) -> None:
    print(line, flush=True)


async def told() -> None:
    await asyncio.to_thread(sys.stdin.readline)


async def renew(keeper: TokenKeeper, folder: Path) -> None:
    """Adopts what somebody else has renewed, or spends the refresh token once."""
    old = await keeper.load("notes", resource=RESOURCE)
    say("ready")
    await told()
    async with keeper.refreshing("notes"):
        record = await keeper.load("notes", resource=RESOURCE, fresh=True)
        if record.access_token != old.access_token:
            say(f"adopted {record.access_token}")
            return
        # O_EXCL is the authorization server here: a refresh token is spent once.
        os.close(os.open(folder / f"spent-{record.refresh_token}", os.O_CREAT | os.O_EXCL))
        await asyncio.sleep(0.2)
        new = replace(record, access_token="access-2", refresh_token="refresh-2")
        await keeper.replace(new, after=record.generation)
        say("spent access-2")


async def hold(keeper: TokenKeeper, folder: Path) -> None:
    """Takes the lock and keeps it."""
    async with keeper.refreshing("notes"):
        say("ready")
        await told()
    say("released")


async def late(keeper: TokenKeeper, folder: Path) -> None:
    """Reads a record, and writes upon it later."""
    record = await keeper.load("notes", resource=RESOURCE)
    say("ready")
    await told()
    noticed = await keeper.load("notes", resource=RESOURCE) is None
    try:
        await keeper.replace(record, after=record.generation)
    except StaleRecordError as error:
        say(f"stale, current {error.current}, noticed {noticed}")
    else:
        say("written")


async def save(keeper: TokenKeeper, folder: Path) -> None:
    """Signs in, at the same time as others."""
    record = await keeper.load("notes", resource=RESOURCE)
    say("ready")
    await told()
    mark = str(os.getpid())
    await keeper.save(replace(record, access_token=mark * 500, client_id=mark))
    say("saved")


if __name__ == "__main__":
    works = {"renew": renew, "hold": hold, "late": late, "save": save}
    asyncio.run(works[sys.argv[1]](TokenKeeper(), Path(sys.argv[2])))
