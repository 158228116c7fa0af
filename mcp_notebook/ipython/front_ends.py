"""The two front ends: a notebook with cards, a terminal with lines of text.

Both run in the person's thread. A session is shown when it is displayed, at the end of the cell
that opened it, and below a cell whose call has to wait for it.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, WeakSet

from mcp_notebook.background import background
from mcp_notebook.client.status import Status
from mcp_notebook.ipython.page import Page
from mcp_notebook.ipython.view import View, view_of
from mcp_notebook.session.session import Session
from mcp_notebook.waiting.frontend import FrontEnd
from mcp_notebook.workspace import Workspace

if TYPE_CHECKING:
    from mcp_notebook.ipython import forms
    from mcp_notebook.ipython.line import ProgressLine
    from mcp_notebook.ipython.progress import Bar
    from mcp_notebook.results.blocks import Shown
    from mcp_notebook.waiting.elicitation import Asking
    from mcp_notebook.waiting.progress import Progress

PATIENCE = 0.6
"""Seconds a call waits in silence before the cell says what it waits for."""

GRACE = 8.0
"""Seconds a call waits for a sign-in where no input can be asked for. A dashboard shows the card
to a person all the same; nbclient and papermill are told soon enough that nobody signs in."""


class InteractiveFrontEnd(FrontEnd):
    """What a notebook and a terminal have in common.

    Attributes:
        variables: The Python variable each session was put into, by the session's name.
    """

    def __init__(self, shell: Any, workspace: Workspace) -> None:
        self.shell = shell
        self.workspace = workspace
        self.variables: dict[str, str] = {}
        self._opened: list[Session] = []
        self._notices: dict[str, str] = {}
        self._changes: WeakKeyDictionary[Session, Shown] = WeakKeyDictionary()
        self._watched: WeakSet[Session] = WeakSet()

    def view(self, session: Session) -> View:
        """Returns how a session stands, in words."""
        connected = session.status is Status.CONNECTED and session.replayed is None
        comparing = session.drifting.under_way  # asked before what it has come to is taken
        if connected and (notice := self.workspace.keeper.notice()):
            self._notices[session.name] = notice  # it is told once, on one card
        if connected and (changes := session.drifting.take(seen=session in self._watched)):
            self._changes[session] = changes.shown(self._drift_of(session))
        return view_of(
            session,
            variable=self.variables.get(session.name, ""),
            notice=self._notices.get(session.name, ""),
            changes=self._changes.get(session),
            comparing=comparing,
        )

    def tell_changes(self, session: Session) -> None:
        """Shows in the cell of a call what has changed, unless the card has told it."""
        # Asked at every call: most of the time there is nothing.
        if session.drifting.untold and (changes := session.drifting.take(seen=self.attended())):
            shown = changes.shown(self._drift_of(session))
            self.display(Page(shown.plain, shown.markup))

    def attended(self) -> bool:
        """Tells whether somebody is there to look and to be asked."""
        return sys.stdin.isatty()

    def display(self, thing: Any) -> None:
        """Shows something in the cell that runs."""
        print(repr(thing))  # noqa: T201 - this is the terminal's display

    def _drift_of(self, session: Session) -> str:
        return f"{self.variables.get(session.name, session.name)}.drift"

    def opened(self, session: Session, variable: str) -> None:
        """Notes a session that a cell has opened; `after_cell` shows it if nothing else did."""
        self.variables[session.name] = variable
        self._opened.append(session)

    def before_cell(self, *_: object) -> None:
        """Called as a cell begins."""

    def after_cell(self, *_: object) -> None:
        """Shows the sessions this cell opened and did not show: their link has to be seen."""
        waiting, self._opened = self._opened, []
        for session in waiting:
            self.show(session)

    def shown(self, session: Session) -> None:
        """Notes that a session has been shown, and whether to somebody."""
        if self.attended():
            self._watched.add(session)
        self._opened = [other for other in self._opened if other is not session]


class NotebookFrontEnd(InteractiveFrontEnd):
    """A kernel: cards made of widgets."""

    def __init__(self, shell: Any, workspace: Workspace) -> None:
        super().__init__(shell, workspace)
        self._cards: dict[int, tuple[Session, Any]] = {}
        self._bars: WeakSet[Progress] = WeakSet()
        self._places: tuple[object, deque[Bar]] = (None, deque())
        self._told: tuple[object, object] | None = None
        self._asked: tuple[object, object] | None = None
        self._since = 0.0
        self._running: dict[str, Any] | None = self._parent()

    def before_cell(self, *_: object) -> None:
        """Notes the cell that is running."""
        self._running = self._parent()

    def after_cell(self, *_: object) -> None:
        """Notes that no cell is running, and shows the sessions this one opened."""
        self._running = None
        super().after_cell()

    def show(self, session: Session) -> None:
        """Displays the session's card; it finishes itself."""
        self.shown(session)
        card = self._card(session)
        self._told = (self._cell(), session.connection.sign_in)
        self.display(card)
        background().post(card.follow)

    def ask(self, asking: Asking) -> None:
        """Asks at a prompt of the waiting cell, or by a form where clicks are handled meanwhile."""
        if not self.attended():
            super().ask(asking)
            return
        from mcp_notebook.ipython.questions import prompt

        if asking.forms and self._handles_clicks():
            from mcp_notebook.ipython.forms import Form

            form = Form(asking)
            self._listen(form.inputs)
            self._show_form(form)
        elif asking.question.url is not None:
            from mcp_notebook.ipython import forms

            page = forms.Page(asking)
            prompt(asking, page=lambda: self._show_form(page))
        else:
            prompt(asking)

    def _show_form(self, form: forms.Page) -> None:
        self.display(form)
        background().post(form.follow)

    def _listen(self, inputs: Iterable[Any]) -> None:
        for widget in inputs:
            widget.observe(self._acknowledge, ["value", "index"])

    def _acknowledge(self, _: object) -> None:
        """Tells the front end that a widget's change has come, where the kernel does not.

        ipykernel 7.4 takes the messages of widgets while a cell awaits, but publishes no status for
        them. The widgets wait for it: of a word that is typed only the first letter would come.
        """
        message = self._parent()
        if self._running is None or message.get("header", {}).get("msg_type") != "comm_msg":
            return
        for state, parent in (("idle", message), ("busy", self._running)):
            kernel = self.shell.kernel
            content = {"execution_state": state}
            kernel.session.send(kernel.iopub_socket, "status", content, parent, ident=b"status")

    def _handles_clicks(self) -> bool:
        # Before 7.4 a click during an await is handled after the cell, or in another thread.
        try:
            major, minor = version("ipykernel").split(".")[:2]
        except PackageNotFoundError:  # another kernel
            return False
        return (int(major), int(minor)) >= (7, 4)

    def progress(self, progress: Progress) -> None:
        """Shows a bar for work that lasts; it follows the work by itself."""
        if progress.worth_showing and progress not in self._bars and self.attended():
            from mcp_notebook.ipython.progress import Bar

            self._bars.add(progress)
            cell, places = self._places
            if cell != self._cell():
                # A loop over slow calls has one bar, and not an empty place for each of them.
                self._places = _, places = self._cell(), deque[Bar]()
            try:
                bar = places.pop()
            except IndexError:
                bar = Bar(progress.title)
                self.display(bar)
            bar.follow(progress, places.append)

    def look(self, session: Session) -> None:
        """Shows the card below a cell that has to wait for a person, once a cell and sign-in."""
        if session.status is not Status.SIGNING_IN:
            return
        asked = (self._cell(), session.connection.sign_in)
        if self._asked != asked:
            self._asked, self._since = asked, time.monotonic()
        waited = time.monotonic() - self._since
        if waited >= GRACE and not self.attended():
            super().look(session)
        elif waited >= PATIENCE and self._told != asked:
            self.show(session)

    def attended(self) -> bool:
        """Tells whether somebody can be asked: the front end of this cell takes input.

        JupyterLab, Notebook, VS Code and Colab allow it in every request; nbclient and papermill
        do not.
        """
        return bool(self._parent().get("content", {}).get("allow_stdin", True))

    def _card(self, session: Session) -> Any:
        from mcp_notebook.ipython.card import Card

        known = self._cards.get(id(session))
        if known is None:
            card = Card(session, lambda: self.view(session), again=session.connection.open)
            if self._handles_clicks():
                self._listen(card.inputs)
            self._cards[id(session)] = known = (session, card)
        return known[1]

    def display(self, thing: Any) -> None:
        """Displays something below the cell that runs."""
        from IPython.display import display

        display(thing)

    def _cell(self) -> object:
        return self._parent().get("header", {}).get("msg_id")

    def _parent(self) -> dict[str, Any]:
        kernel = getattr(self.shell, "kernel", None)
        parent = kernel.get_parent("shell") if kernel is not None else None
        return parent or {}


class TerminalFrontEnd(InteractiveFrontEnd):
    """Terminal IPython: two lines of text, and a line when it is done."""

    def __init__(self, shell: Any, workspace: Workspace) -> None:
        super().__init__(shell, workspace)
        self._told: object = None
        self._waited_for: object = None
        self._line: ProgressLine | None = None

    def show(self, session: Session) -> None:
        """Prints how the session stands, with the link if there is one."""
        self.shown(session)
        view = self._settled(session)
        self._changes.pop(session, None)  # once
        print(view.plain)  # noqa: T201 - this is the terminal's display
        if view.url:
            self._told = session.connection.sign_in
            self._print_link(session, view)

    def look(self, session: Session) -> None:
        """Says once that a call waits for a sign-in, with the link if it was not printed yet."""
        sign_in = session.sign_in
        if not sys.stdin.isatty():
            super().look(session)
            return
        if sign_in is None or not sign_in.url or self._waited_for is sign_in:
            return
        self._waited_for = sign_in
        print(f"Waiting for the sign-in to {session.name} … (Ctrl-C stops the waiting)")  # noqa: T201
        if self._told is not sign_in:
            self._told = sign_in
            self._print_link(session, self.view(session))

    def ask(self, asking: Asking) -> None:
        """Asks at a prompt."""
        if not sys.stdin.isatty():
            super().ask(asking)
            return
        from mcp_notebook.ipython.questions import prompt

        self._wipe()
        prompt(asking)

    def progress(self, progress: Progress) -> None:
        """Keeps one line about work that lasts, and takes it away in the end."""
        if not progress.worth_showing or not sys.stdout.isatty():
            self._wipe()
            return
        from mcp_notebook.ipython.line import ProgressLine

        self._line = self._line or ProgressLine()
        self._line.paint(progress)

    def _wipe(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            line.wipe()

    def _print_link(self, session: Session, view: View) -> None:
        lines = [f"  Open: {view.url}"]
        if view.user_code:
            lines.append(f"  and type {view.user_code} there.")
        else:
            lines.append(
                "  Browser on another machine? Paste the address it ended on with: "
                f"%mcp sign-in {session.name} --paste"
            )
        print("\n".join(lines))  # noqa: T201

    def _settled(self, session: Session) -> View:
        """Waits a moment: most connections are made, or have their link, within a second."""
        end = time.monotonic() + 2
        while time.monotonic() < end:
            view = self.view(session)
            if view.over or view.url:
                return view
            time.sleep(0.05)
        return self.view(session)
