"""The rooms of the house: imports go down, and each outside library has its doors."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from mcp_notebook import errors

PACKAGE = Path(__file__).parent.parent / "mcp_notebook"
MODULES = sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    """Returns the module's dotted name below the package."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__") or "__init__"


def imported(path: Path, *, top_level_only: bool = False) -> set[str]:
    """Returns what a module imports, type checking blocks left out."""
    found: set[str] = set()

    def visit(node: ast.AST, depth: int) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                continue
            inner = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
            if isinstance(child, ast.Import):
                found.update(alias.name for alias in child.names)
            elif isinstance(child, ast.ImportFrom) and child.module and not child.level:
                found.add(child.module)
                if child.module.startswith("mcp_notebook"):  # a name may be a module
                    found.update(f"{child.module}.{alias.name}" for alias in child.names)
            if not (inner and top_level_only):
                visit(child, depth + 1)

    visit(ast.parse(path.read_text(encoding="utf-8")), 0)
    return found


def outside(path: Path) -> set[str]:
    """Returns the top-level packages a module imports."""
    return {name.partition(".")[0] for name in imported(path)}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_the_core_knows_no_notebook(path):
    if "ipython" in path.relative_to(PACKAGE).parts:
        return
    assert not outside(path) & {"IPython", "ipywidgets", "ipykernel"}
    if name_of(path) != "__init__":
        assert not any(name.startswith("mcp_notebook.ipython") for name in imported(path))


DOORS = {
    "distributed": {"batch.dask_pool"},
    "keyring": {"auth.keyring_store", "auth.stores", "auth.current_store", "auth.store_thread"},
    "pandas": {"results.tables"},
    "pyarrow": {"results.arrow"},
    "ipywidgets": {"ipython.card", "ipython.forms", "ipython.questions", "ipython.progress"},
    "nest_asyncio2": {"ipython.waiting"},
    "webbrowser": set(),
    "nest_asyncio": set(),
    "httpx": set(),
}


@pytest.mark.parametrize("library", DOORS)
def test_each_library_comes_in_through_its_door(library):
    through = {name_of(path) for path in MODULES if library in outside(path)}
    assert through <= DOORS[library]


def test_imports_go_down():
    """Imports inside functions count as well: whoever needs them to break a circle has a circle."""
    graph = {name_of(path): below(path) for path in MODULES}
    graph.pop("__init__")  # the front door opens every room
    tuple(TopologicalSorter(graph).static_order())  # raises CycleError, naming the circle


def below(path: Path) -> set[str]:
    """Returns the modules of the package that a module imports."""
    known = {name_of(module) for module in MODULES} - {"__init__"}
    names = {name.removeprefix("mcp_notebook.") for name in imported(path)}
    return (names & known) - {name_of(path)}


MAY_USE = {
    "schema": set(),
    "results": set(),
    "config": {"schema"},
    "demo": {"config"},
    "commands": {"config", "schema"},
    "auth": {"config"},
    "recording": {"config", "schema"},
    "client": {"auth", "config", "recording"},
    "waiting": {"client", "config", "schema"},
    "batch": {"client", "config", "recording", "results", "schema", "waiting"},
    "session": {"batch", "client", "config", "recording", "results", "schema", "waiting"},
}
"""Which other folders a folder may import from; what is below them all lies beside them."""

FOUNDATION = {"_version", "background", "errors", "frames", "redaction"}


@pytest.mark.parametrize("folder", sorted(path.name for path in PACKAGE.iterdir() if path.is_dir()))
def test_a_folder_touches_only_what_is_below_it(folder):
    if folder in {"__pycache__", "ipython"}:  # the notebook's side opens every room
        return
    used = set().union(*(below(path) for path in (PACKAGE / folder).rglob("*.py")))
    assert {name.partition(".")[0] for name in used} - {folder} <= MAY_USE[folder] | FOUNDATION


def test_every_module_has_a_folder_but_the_foundation():
    flat = {path.stem for path in PACKAGE.glob("*.py")}
    assert flat == FOUNDATION | {"__init__", "workspace"}


def test_there_is_no_drawer_called_utils():
    names = {part for path in MODULES for part in path.relative_to(PACKAGE).with_suffix("").parts}
    assert not names & {"utils", "util", "helpers", "common", "misc"}


def test_a_module_is_one_room():
    long = {name_of(path): len(path.read_text().splitlines()) for path in MODULES}
    assert {name: lines for name, lines in long.items() if lines > 420} == {}


def test_loading_the_extension_imports_nothing_heavy():
    code = (
        "import sys\n"
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "shell = InteractiveShell.instance()\n"
        "import mcp_notebook, mcp_notebook.ipython.magics as magics\n"
        "magics._warm_up = lambda: None\n"
        "mcp_notebook.load_ipython_extension(shell)\n"
        "heavy = {'mcp', 'httpx2', 'pydantic', 'pandas', 'ipywidgets', 'keyring', 'anyio'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert ran.stdout.strip() == "[]"


def test_the_public_names_are_those_that_are_listed():
    import mcp_notebook

    assert sorted(mcp_notebook.__all__) == mcp_notebook.__all__
    for name in mcp_notebook.__all__:
        assert getattr(mcp_notebook, name) is not None


def test_every_error_derives_from_ours_and_carries_a_hint():
    import mcp_notebook
    from mcp_notebook import MCPNotebookError

    errors = [getattr(mcp_notebook, name) for name in mcp_notebook.__all__ if "Error" in name]
    assert len(errors) > 10
    for kind in errors:
        assert issubclass(kind, MCPNotebookError)
        assert kind("what", hint="so").hint == "so"


def test_every_error_says_what_to_do_next():
    """The README promises it; a hint that is made elsewhere is handed on as one."""
    public = {
        name
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, errors.MCPNotebookError)
    }
    mute = [
        f"{name_of(path)}:{call.lineno}"
        for path in MODULES
        if path.parent.name != "demo"  # its errors are the server side's
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Name)
        and call.func.id in public
        and "hint" not in {keyword.arg for keyword in call.keywords}
    ]
    assert mute == []
