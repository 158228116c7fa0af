"""``%mcp`` and ``%%mcp``: registered on load, and nothing else imported until they are used.

Loading costs a few milliseconds. The heavy libraries are then imported on a thread of their own,
while the person types; whoever needs them sooner waits for the rest of the import only.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from importlib import import_module
from typing import TYPE_CHECKING, Any

from IPython.core.magic import Magics, line_cell_magic, magics_class, no_var_expand
from traitlets import Bool, observe, validate

from mcp_notebook.frames import sealed

if TYPE_CHECKING:
    from mcp_notebook.ipython.commands import Commands

logger = logging.getLogger(__name__)


@magics_class
class MCPMagics(Magics):
    """The one magic, and what can be set of it with ``%config``."""

    keep_loop_running = Bool(
        default_value=False,
        help="Let your own asyncio tasks go on while a cell waits for a server. This patches "
        "asyncio (with nest_asyncio2) until the kernel ends.",
    ).tag(config=True)

    def __init__(self, shell: Any) -> None:
        super().__init__(shell)
        self._commands: Commands | None = None

    @no_var_expand
    @line_cell_magic
    @sealed
    def mcp(self, line: str, cell: str | None = None) -> object:
        """MCP servers in this notebook.

        %mcp demo                    a server on this machine to try it all with
        %mcp add NAME URL            remember a server
        %mcp connect NAME            a card offers the sign-in; the cell is done at once
        NAME.tools.<Tab>             call a tool as a Python function
        NAME.resources, .prompts     what there is to read, and texts it fills in
        %mcp                         the servers you know, and how each stands
        %mcp help [COMMAND]          everything else
        %config MCPMagics            settings
        """
        return self.commands.run(line, cell)

    @property
    def commands(self) -> Commands:
        """What carries out the commands; made on first use."""
        if self._commands is None:
            self._commands = self._make()
        return self._commands

    @validate("keep_loop_running")
    def _allowed(self, proposal: Any) -> bool:
        if proposal.value:
            from mcp_notebook.ipython.waiting import hindrance

            if reason := hindrance(self.shell):
                # Not an error: one profile may serve terminals and kernels of any version.
                logger.warning("MCPMagics.keep_loop_running stays off: %s.", reason)
                return False
        return bool(proposal.value)

    @observe("keep_loop_running")
    def _set(self, change: Any) -> None:
        from mcp_notebook.ipython.waiting import keep_loop_running

        keep_loop_running(on=change.new)

    def _make(self) -> Commands:
        from mcp_notebook.ipython import front_ends
        from mcp_notebook.ipython.commands import Commands
        from mcp_notebook.workspace import workspace

        assert self.shell is not None
        in_kernel = getattr(self.shell, "kernel", None) is not None
        kind = front_ends.NotebookFrontEnd if in_kernel else front_ends.TerminalFrontEnd
        space = workspace()
        front_end = kind(self.shell, space)
        space.use(front_end)
        self.shell.events.register("pre_run_cell", front_end.before_cell)
        self.shell.events.register("post_run_cell", front_end.after_cell)
        return Commands(self.shell, space, front_end)

    def close(self) -> None:
        """Takes back what was registered with the shell."""
        assert self.shell is not None
        self.keep_loop_running = False
        with contextlib.suppress(ValueError):
            self.shell.configurables.remove(self)  # type: ignore[arg-type] # typed too narrowly
        if self._commands is not None:
            front_end = self._commands.front_end
            with contextlib.suppress(ValueError):
                self.shell.events.unregister("pre_run_cell", front_end.before_cell)
                self.shell.events.unregister("post_run_cell", front_end.after_cell)


_loaded: MCPMagics | None = None


def load(shell: Any) -> None:
    """Registers the magic and its completion; a second time does nothing."""
    global _loaded
    if _loaded is not None and _loaded.shell is shell:
        return
    from mcp_notebook.ipython import completion

    _loaded = MCPMagics(shell)
    shell.register_magics(_loaded)
    completion.register(shell, lambda: _loaded)
    threading.Thread(target=_warm_up, name="mcp-notebook imports", daemon=True).start()


def attend(shell: Any) -> None:
    """Has sessions that Python code opens shown in this shell, as those of ``%mcp`` are."""
    load(shell)
    assert _loaded is not None
    _loaded.commands  # noqa: B018 - made on first use, with the front end


def unload(shell: Any) -> None:
    """Takes the magic and its completion away."""
    global _loaded
    if _loaded is None:
        return
    from mcp_notebook.ipython import completion

    completion.unregister(shell)
    _loaded.close()
    for kind in ("line", "cell"):
        shell.magics_manager.magics[kind].pop("mcp", None)
    _loaded = None


def _warm_up() -> None:
    # What is missing or broken is told when it is used, by the import there.
    with contextlib.suppress(Exception):
        import_module("mcp_notebook.ipython.commands")
        import_module("mcp_notebook.results.tool_result")
        # Reading the system's certificates, and what anyio imports in its first loop, would take
        # longer than connecting does.
        import_module("mcp_notebook.auth.route").ssl_context()
        anyio = import_module("anyio")
        anyio.run(anyio.sleep, 0)
