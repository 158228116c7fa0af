"""``%mcp record`` and ``%mcp replay``: what a cell shows of them."""

from __future__ import annotations

from mcp_notebook.commands import command
from mcp_notebook.ipython.page import Page, sentences, table
from mcp_notebook.workspace import Workspace

FOR_SERVERS = (
    command.Add,
    command.AddMany,
    command.Import,
    command.Trust,
    command.Remove,
    command.SignIn,
    command.SignOut,
    command.Doctor,
)
"""What is about servers themselves. In a replay it does nothing, and the notebook runs on."""


def passed_over(space: Workspace) -> Page:
    """Tells that a command has done nothing."""
    return sentences(["Nothing is done: this is a replay.", *mode(space)])


def record(space: Workspace, wanted: command.Record) -> Page:
    """Begins or ends a recording, or tells how it stands."""
    if wanted.path is not None and space.player is not None:
        return passed_over(space)
    if wanted.path is not None:
        recorder = space.record(wanted.path, replace=wanted.replace)
        assert recorder is not None
        return sentences(
            [
                f"Every answer is kept in {recorder.path} from now on, with its arguments.",
                "Nothing of a sign-in is in it, and only you can read it.",
                f"Replay it with: %mcp replay {wanted.path}",
            ]
        )
    if space.recorder is None:
        return sentences(["Nothing is being recorded.", "Begin with: %mcp record FILE"])
    if not wanted.off:
        return sentences([space.recorder.summary, "End it with: %mcp record off"])
    ended = space.record(None)
    assert ended is not None
    return sentences([f"The recording has ended. {ended.summary}"])


def replay(space: Workspace, wanted: command.Replay) -> Page:
    """Begins or ends a replay, or tells what is in the recording."""
    if wanted.off:
        if space.replay(None) is None:
            return sentences(["Nothing is being replayed."])
        return sentences(["The replay has ended. Connect again to reach the servers."])
    player = space.replay(wanted.path) if wanted.path is not None else space.player
    if player is None:
        return sentences(["Nothing is being replayed.", "Begin with: %mcp replay FILE"])
    columns = ["server", "address", "version", "recorded", "answers"]
    return table(columns, player.contents(), "\n".join(mode(space)))


def mode(space: Workspace) -> list[str]:
    """Tells that answers are recorded or replayed, where they are."""
    if space.player is not None:
        path = space.player.path
        return [f"Answers come from {path}; no server is contacted until: %mcp replay off"]
    return [f"Recorded: {space.recorder.summary}"] if space.recorder is not None else []
