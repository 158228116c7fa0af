"""What the core asks of whoever shows things to a person.

The core never calls up into a notebook on its own: its background loop changes states, and a
front end looks at them. Where the core does need a person's side, in the thread of a call that
waits, it asks the `FrontEnd` it was given. The plain one stands for an unattended run: nobody is
there, so what needs a person fails at once and says how to prepare it. A script at a terminal has
somebody who can open a link: `Console`.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from mcp_notebook.client.status import Status
from mcp_notebook.errors import SignInNeededError

if TYPE_CHECKING:
    from mcp_notebook.auth.sign_in import SignIn
    from mcp_notebook.session.session import Session
    from mcp_notebook.waiting.elicitation import Asking
    from mcp_notebook.waiting.progress import Progress


class FrontEnd:
    """Nobody is there. A front end overrides what it can do."""

    def show(self, session: Session) -> None:
        """Displays a session and what it waits for."""
        print(repr(session))  # noqa: T201 - a front end's job is to show

    def look(self, session: Session) -> None:
        """Shows what a waiting call needs a person for; called at every tick of a wait.

        Args:
            session: The session whose call waits, in the thread that waits.

        Raises:
            SignInNeededError: The call needs a person and nobody can be reached.
        """
        sign_in = session.sign_in
        if session.status is Status.SIGNING_IN and sign_in is not None and sign_in.url:
            raise SignInNeededError(
                f"{session.name} needs a person to sign in, and nobody can be asked here.",
                hint=f"Sign in once where you can click a link (%mcp connect {session.name} in a "
                "notebook or terminal); the sign-in is kept. Or use --grant client_credentials. "
                "A wait with a time limit, session.wait(60), waits all the same.",
            )

    def tell_changes(self, session: Session) -> None:
        """Tells once that a server's tools have changed; called where a call begins and ends.

        A script that wants to know looks at `Session.drift`.
        """

    def ask(self, asking: Asking) -> None:
        """Puts a server's question to the person, in the thread that waits for the call.

        May settle it before returning, by asking at a prompt, or later, by a form. Here nobody is
        there, and the question is cancelled.

        Args:
            asking: The question. Its clock runs; it may be over at any moment.
        """
        asking.cancel("nobody can be asked here")

    def progress(self, progress: Progress) -> None:
        """Shows how far long work is; called at every tick of a wait, and once at its end.

        Args:
            progress: The work. What is short and silent is shown by nobody.
        """


class Console(FrontEnd):
    """Somebody runs a script at a terminal: they are given the link, and a call waits for them.

    Questions of servers are cancelled, as where nobody is: a script prepares its answers with
    `Session.on_question`.
    """

    def __init__(self) -> None:
        self._told: SignIn | None = None

    def look(self, session: Session) -> None:
        """Prints the link once for each sign-in, where it does not mix with the script's output."""
        sign_in = session.sign_in
        if sign_in is None or not sign_in.url or sign_in is self._told:
            return
        self._told = sign_in
        lines = [
            f"Waiting for the sign-in to {session.name} … (Ctrl-C stops the waiting)",
            f"  Open: {sign_in.url}",
        ]
        if code := sign_in.standing().user_code:
            lines.append(f"  and type {code} there.")
        print("\n".join(lines), file=sys.stderr, flush=True)  # noqa: T201 - its job is to show


def script_front_end() -> FrontEnd:
    """Returns who shows things for a script: somebody at its terminal, or nobody."""
    # Under pythonw, and in some services, there are no such files at all.
    at_terminal = all(file is not None and file.isatty() for file in (sys.stdin, sys.stderr))
    return Console() if at_terminal else FrontEnd()
