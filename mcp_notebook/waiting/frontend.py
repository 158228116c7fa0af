"""What the core asks of whoever shows things to a person.

The core never calls up into a notebook on its own: its background loop changes states, and a
front end looks at them. Where the core does need a person's side, in the thread of a call that
waits, it asks the `FrontEnd` it was given. This one, the default, stands for a plain script or an
unattended run: nobody is there, so what needs a person fails at once and says how to prepare it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mcp_notebook.client.status import Status
from mcp_notebook.errors import SignInNeededError

if TYPE_CHECKING:
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
