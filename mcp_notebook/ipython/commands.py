"""What each ``%mcp`` command does in a cell: one match over the commands, a `Page` or an object.

A command returns what the cell shows. Everything it needs a person for (a masked prompt) happens
here, in the person's thread.
"""

from __future__ import annotations

import getpass
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mcp_notebook.client.status import Status
from mcp_notebook.commands import command
from mcp_notebook.commands.manual import help_text
from mcp_notebook.commands.parsing import parse
from mcp_notebook.config import catalog, importing, trust
from mcp_notebook.config.rules import doubtful
from mcp_notebook.config.servers import Server, variables_of
from mcp_notebook.demo.launch import listens
from mcp_notebook.errors import CommandError, MCPNotebookError, ServerConfigError
from mcp_notebook.ipython import recording
from mcp_notebook.ipython.front_ends import InteractiveFrontEnd
from mcp_notebook.ipython.page import Page, columns, sections, sentences, table, typed
from mcp_notebook.ipython.view import place_of
from mcp_notebook.results import html
from mcp_notebook.results.html import Html, join, tag
from mcp_notebook.schema.signature import Parameters
from mcp_notebook.session.session import Session
from mcp_notebook.session.toolbox import find_tools, show_tools
from mcp_notebook.waiting.wait import Wait
from mcp_notebook.workspace import DEMO, Workspace

if TYPE_CHECKING:
    from mcp_notebook.auth.metadata import Step
    from mcp_notebook.results.tool_result import ToolResult
    from mcp_notebook.session.tools import Tools

_ELSEWHERE = "Another kernel has started it, and it ends with that kernel."


class Commands:
    """Carries out commands for one shell.

    Attributes:
        workspace: The servers and sessions.
        front_end: Whoever shows sessions.
    """

    def __init__(self, shell: Any, workspace: Workspace, front_end: InteractiveFrontEnd) -> None:
        self._shell = shell
        self.workspace = workspace
        self.front_end = front_end

    def run(self, line: str, cell: str | None = None) -> object:  # noqa: C901 - a flat table
        """Carries out one line (and cell) and returns what the cell is to show.

        Raises:
            MCPNotebookError: What went wrong, with what to do about it.
        """
        wanted = parse(line, cell)
        if self.workspace.player is not None and isinstance(wanted, recording.FOR_SERVERS):
            return recording.passed_over(self.workspace)
        match wanted:
            case command.Add():
                return self._add(wanted)
            case command.AddMany():
                return self._add_many(wanted)
            case command.Import():
                return self._import(wanted)
            case command.List():
                return self._list()
            case command.Status():
                return self._status()
            case command.Trust(name):
                return self._trust(name)
            case command.Remove(name):
                return sentences([f"{name} is forgotten.", *self.workspace.remove(name)])
            case command.Connect(name, variable, account):
                return self._connect(name, variable, account)
            case command.Tools(name, words):
                return self._tools(name, words)
            case command.Call():
                return self._call(wanted)
            case command.Record():
                return recording.record(self.workspace, wanted)
            case command.Replay():
                return recording.replay(self.workspace, wanted)
            case command.Disconnect(name):
                self.workspace.disconnect(name)
                return sentences([f"{name} is disconnected; a sign-in is kept, if there was one."])
            case command.SignIn(name, paste=True):
                return self._paste(name)
            case command.SignIn(name, register_again):
                return self._shown(self.workspace.sign_in(name, register_again=register_again))
            case command.SignOut(name):
                return sentences([f"Signed out of {name}.", *self.workspace.sign_out(name)])
            case command.Store(place):
                return self._store(place)
            case command.Doctor(name):
                return self._doctor(name)
            case command.Demo(stop):
                return self._stop_demo() if stop else self._demo()
            case command.Help(topic):
                return columns(help_text(topic))

    # -- servers ------------------------------------------------------------------------------

    def _add(self, wanted: command.Add) -> Page:
        server = wanted.server
        secret = self._ask_secret(server) if wanted.ask_secret else None
        how = self.workspace.book.add(server, replace=wanted.replace)
        if secret is not None:
            self.workspace.keep_secret(server, secret)
        return _added([(server, how)], (catalog.about(server.name),))

    def _ask_secret(self, server: Server) -> str:
        if not server.oauth.client_id:
            raise CommandError(
                "--client-secret needs the --client-id it belongs to.",
                hint=f"%mcp add {server.name} {server.url} --client-id ID --client-secret",
            )
        secret = getpass.getpass(f"Client secret of {server.name} (not shown, not saved here): ")
        if not secret.strip():
            raise CommandError(
                "No client secret was given; nothing was added.",
                hint="Run the cell again and paste it; a client that has none is added without "
                "--client-secret.",
            )
        return secret.strip()

    def _add_many(self, wanted: command.AddMany) -> Page:
        added = [
            (server, self.workspace.book.add(server, replace=wanted.replace))
            for server in wanted.servers
        ]
        return _added(added, wanted.notes)

    def _import(self, wanted: command.Import) -> Page:
        found = importing.find(wanted.source)
        if not found:
            return sentences([f"No servers were found in {wanted.source}."])
        if not wanted.names and not wanted.everything:
            return sections(
                f"{importing.preview(found)}\n\nNothing was taken or started. Take some with: "
                f"%mcp import {wanted.source} NAME …, all with --all"
            )
        missing = set(wanted.names) - {item.name for item in found}
        if missing:
            raise ServerConfigError(
                f"{wanted.source} has no server {min(missing)!r}.",
                hint=f"See what it has with: %mcp import {wanted.source}",
            )
        chosen = [item for item in found if wanted.everything or item.name in wanted.names]
        if not wanted.everything:
            for item in chosen:
                item.use()  # raises before anything is taken
        added, notes = [], []
        for item in chosen:
            try:
                server = item.use()
                added.append((server, self.workspace.book.add(server, replace=wanted.replace)))
                notes += [f"{item.name}: {note}" for note in item.notes]
            except MCPNotebookError as error:
                if not wanted.everything:
                    raise
                notes.append(f"{item.name} was left out: {error.message}")
        return _added(added, notes)

    def _trust(self, name: str) -> Page:
        server = self.workspace.server(name)
        if server.transport != "stdio":
            return sentences([f"{name} is contacted over the network; it starts no program here."])
        self.workspace.trusted.trust(server)
        return sentences([f"{name} may be started from now on:", trust.launch(server)])

    # -- how it stands ------------------------------------------------------------------------

    def _list(self) -> Page:
        book = self.workspace.book
        player = self.workspace.player
        known = {
            server.name: server
            for server in (book.all() if player is None else map(player.server, player.servers))
        }
        for session in self.workspace.sessions.values():
            known.setdefault(session.name, session.connection.server)
        if not known:
            return sentences(
                [
                    "No servers yet. Try one on this machine: %mcp demo",
                    "Add one: %mcp add NAME URL",
                    "All commands: %mcp help",
                ]
            )
        rows = [
            [name, server.url or " ".join(server.command), self._stands(name)]
            for name, server in known.items()
        ]
        notes = "\n".join([*book.problems(), *recording.mode(self.workspace)])
        return table(["server", "address", "stands"], rows, notes)

    def _stands(self, name: str) -> str:
        session = self.workspace.sessions.get(name)
        if session is None or session.status is Status.DISCONNECTED:
            return "not connected"
        variable = self.front_end.variables.get(name)
        return session.summary() + (f" as {variable}" if variable not in {None, name} else "")

    def _status(self) -> Page:
        rows = [
            [name, self._stands(name), self._protocol(session)]
            for name, session in self.workspace.sessions.items()
        ]
        store = "\n".join([str(self.workspace.keeper.describe()), *recording.mode(self.workspace)])
        if not rows:
            return sentences(["No server is connected in this kernel.", *store.splitlines()])
        return table(["session", "stands", "protocol"], rows, store)

    def _protocol(self, session: Session) -> str:
        client = session.connection.client
        return client.protocol_version if client is not None else ""

    def _store(self, place: command.StoreKind | None) -> Page:
        keeper = self.workspace.keeper
        work = keeper.probe() if place is None else keeper.change_store(place)
        return sentences(str(Wait(work).result()).splitlines())

    def _doctor(self, name: str) -> Page:
        from mcp_notebook.auth.doctor import examine

        session = self.workspace.session(name)
        server, credentials = session.connection.server, session.connection.credentials
        if credentials is None:
            raise ServerConfigError(
                f"{name} is a program on this machine; there is nothing to sign in to.",
                hint=f"See what it says when it starts: %mcp connect {name}",
            )
        report = Wait(examine(server, credentials)).result()
        rows = [_step(step, name, told=report.fix) for step in report.steps]
        grid = html.table(["", "step", "asked", "found"], rows, caption=report.verdict)
        advice = tag("div", "→ ", typed(report.fix, name)) if report.fix else Html()
        return Page(report.text, join([grid, advice]))

    # -- sessions -----------------------------------------------------------------------------

    def _connect(self, name: str, variable: str, account: str | None) -> Session:
        session = self.workspace.connect(name, account=account)
        if account is None:
            variable = self._free(variable)
        self._shell.user_ns[variable] = session
        self.front_end.opened(session, variable)
        return session

    def _free(self, variable: str) -> str:
        """Returns a variable that holds nothing of the person's: a server may be called "time"."""
        while not isinstance(self._shell.user_ns.get(variable), Session | None):
            variable += "_"
        return variable

    def _shown(self, session: Session) -> Session:
        self.front_end.opened(session, self.front_end.variables.get(session.name, session.name))
        return session

    def _paste(self, name: str) -> Session:
        session = self.workspace.session(name)
        sign_in = session.sign_in
        if sign_in is None:
            raise CommandError(
                f"No sign-in to {name} is under way.", hint=f"Start one with: %mcp sign-in {name}"
            )
        # Masked: the address holds a one-time code, and a cell's input stays in the history.
        sign_in.answer(getpass.getpass("The address the browser ended on (not shown): "))
        return session.wait()

    def _session(self, name: str) -> Session:
        """Returns a connected session, by its name or by the variable it is in."""
        for known, variable in self.front_end.variables.items():
            if variable == name and name not in self.workspace.sessions:
                name = known
        return self.workspace.connect(name)

    def _tools(self, name: str, words: Sequence[str]) -> Tools | Page:
        session = self._session(name)
        session.wait()
        if not words:
            return session.tools
        every = session.connection.tools
        shown = show_tools(find_tools(every, words), source=session.name, of=len(every))
        return Page(shown.plain, shown.markup)

    def _call(self, wanted: command.Call) -> ToolResult | None:
        session = self._session(wanted.name).wait()
        tool = session.tools[wanted.tool]
        parameters = Parameters.of(tool.name, tool.input_schema)
        self._check_filled_in(wanted)
        given: Mapping[str, Any] = {**(wanted.body or {}), **parameters.from_text(wanted.pairs)}
        result = tool(**given)
        if wanted.out is None:
            return result
        self._shell.user_ns[wanted.out] = result
        return None

    def _check_filled_in(self, wanted: command.Call) -> None:
        """Refuses ``$name`` and ``{name}``, which other magics replace by the variable's value."""
        session = self.front_end.variables.get(wanted.name, wanted.name)
        for key, text in wanted.pairs:
            name = text.removeprefix("$").removeprefix("{").removesuffix("}")
            if text in {f"${name}", f"{{{name}}}"} and name in self._shell.user_ns:
                raise CommandError(
                    f"{text} is not filled in here: {key} would be sent as it is written.",
                    hint=f"Call the tool in Python: {session}.tools[{wanted.tool!r}]({key}={name})",
                )

    # -- the demo -----------------------------------------------------------------------------

    def _demo(self) -> Page:
        server = self.workspace.demo()
        if self.workspace.player is not None:
            return sentences(["The demo server is replayed.", f"Next: %mcp connect {DEMO}"])
        lines = [f"The demo server runs at {server.url} and is known as {DEMO!r}."]
        if not self.workspace.demo_is_ours:
            lines.append(_ELSEWHERE)
        return sentences([*lines, f"Next: %mcp connect {DEMO}"])

    def _stop_demo(self) -> Page:
        if self.workspace.demo_is_ours:
            self.workspace.stop_demo()
            return sentences(["The demo server has ended."])
        if any(s.name == DEMO and listens(s.url) for s in self.workspace.book.all()):
            return sentences([_ELSEWHERE])
        return sentences(["The demo server does not run."])


def _added(added: Sequence[tuple[Server, str]], notes: Sequence[str]) -> Page:
    lines = []
    for server, how in added:
        what = {"added": "is remembered", "changed": "is changed", "same": "was known already"}[how]
        place = place_of(server.url)
        lines.append(f"{server.name} ({place}) {what}.")
    lines += [note for note in notes if note]
    lines += [line for server, _ in added for line in _sent_along(server)]
    if len(added) == 1:
        server = added[0][0]
        if server.transport == "stdio":
            lines += [trust.launch(server), f"To allow that: %mcp trust {server.name}"]
        lines.append(f"Next: %mcp connect {server.name}")
    elif added:
        lines.append("Next: %mcp connect NAME, with one of these names.")
    return sentences(lines)


def _sent_along(server: Server) -> list[str]:
    """Tells what of this machine's variables goes to a server, and what may be a key by mistake."""
    lines = []
    if names := variables_of(server):
        lines.append(f"{place_of(server.url)} is sent what {' and '.join(names)} holds here.")
    if part := doubtful(server.url):
        lines.append(
            f"If {part[:4]}… in the address of {server.name} is a key, this notebook now holds it: "
            "renew it, put it into an environment variable, and write ${NAME} in its place."
        )
    return lines


def _step(step: Step, name: str, *, told: str) -> list[Html]:
    """Returns one step of the doctor as a row, without a fix that is told below the table."""
    asked = f"{step.method} {step.address}".strip()
    answer = f"→ {step.status}" if step.status else ""
    rfc = step.rfc.replace(" ", "\N{NO-BREAK SPACE}")
    found = (step.found, step.problem, "" if step.fix == told else step.fix)
    return [
        tag("span", "✗", class_="mcpnb-bad") if step.problem else tag("span", "✓"),
        join([tag("div", step.what), tag("div", rfc, class_="mcpnb-quiet")]),
        join([tag("div", asked), tag("div", answer, class_="mcpnb-quiet")]),
        join(tag("div", typed(line, name)) for line in found if line),
    ]
