"""A real JupyterLab in headless Chromium.

One server and one browser serve many notebooks. Everything is private to the run: settings,
workspaces, kernels' homes. Nothing but loopback is reached.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-dev-shm-usage",
]
SETTINGS: dict[str, dict[str, Any]] = {
    # Every cell is in the page, nothing pops up, nothing is saved unasked.
    "@jupyterlab/notebook-extension/tracker": {"windowingMode": "none"},
    "@jupyterlab/apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "@jupyterlab/docmanager-extension/plugin": {"autosave": False},
}


CONTRASTS = """area => {
    const colour = text => {
        const [r, g, b, alpha = 1] = text.match(/[\\d.]+(e-?\\d+)?/g).map(Number);
        return text.startsWith('color') ? [r * 255, g * 255, b * 255, alpha] : [r, g, b, alpha];
    };
    const over = (top, below) => [0, 1, 2].map(i => top[i] * top[3] + below[i] * (1 - top[3]));
    const behind = element => {
        const layers = [];
        for (let at = element; at; at = at.parentElement) {
            layers.unshift(colour(getComputedStyle(at).backgroundColor));
        }
        return layers.reduce((below, layer) => over(layer, below), [255, 255, 255]);
    };
    const luminance = rgb => {
        const [r, g, b] = rgb.map(part => part / 255)
            .map(part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const texts = document.createTreeWalker(area, NodeFilter.SHOW_TEXT);
    const found = [];
    while (texts.nextNode()) {
        const [text, element] = [texts.currentNode.data.trim(), texts.currentNode.parentElement];
        if (!text || element.tagName === 'STYLE' || !element.checkVisibility()) continue;
        const back = behind(element);
        const front = over(colour(getComputedStyle(element).color), back);
        const [dark, light] = [luminance(back), luminance(front)].sort((a, b) => a - b);
        found.push([text.slice(0, 60), (light + 0.05) / (dark + 0.05)]);
    }
    return found;
}"""
"""Every visible text with the contrast of its colour and what is behind it."""


def missing() -> str:
    """Returns what this machine lacks for a browser test, or nothing."""
    if CHROMIUM is None:
        return "Chromium is not installed"
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        return "playwright is not installed"
    return ""


class Lab:
    """A JupyterLab and a browser that looks at it."""

    def __init__(
        self, folder: Path, *, env: dict[str, str], dark: bool = False, scale: float = 1
    ) -> None:
        """Starts both.

        Args:
            folder: Where everything is kept; its ``root`` is what JupyterLab shows.
            env: Environment variables for the kernels.
            dark: Whether the dark theme is used.
            scale: Pixels of a screenshot to one of the page.
        """
        from playwright.sync_api import sync_playwright

        self.root = folder / "root"
        self.root.mkdir(parents=True)
        theme = {"theme": "JupyterLab Dark" if dark else "JupyterLab Light"}
        for name, values in {
            **SETTINGS,
            "@jupyterlab/apputils-extension/themes": theme,
        }.items():
            path = folder / "settings" / f"{name}.jupyterlab-settings"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(values))
        self._token = secrets.token_hex(16)
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self._port = found.getsockname()[1]
        self._server = self._start_server(folder, env)
        self._playwright = sync_playwright().start()
        self._browser = self._playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        self.context = self._browser.new_context(
            viewport={"width": 1100, "height": 900}, device_scale_factor=scale
        )

    def _start_server(self, folder: Path, env: dict[str, str]) -> subprocess.Popen[bytes]:
        places = {
            f"JUPYTER_{kind.upper()}_DIR": str(folder / kind)
            for kind in ("config", "data", "runtime")
        }
        options = {
            "ServerApp.port": self._port,
            "ServerApp.ip": "127.0.0.1",
            "IdentityProvider.token": self._token,
            "ServerApp.root_dir": self.root,
            "ServerApp.terminals_enabled": False,
            "LabApp.user_settings_dir": folder / "settings",
            "LabApp.workspaces_dir": folder / "workspaces",
            "LabApp.expose_app_in_browser": True,
        }
        server = subprocess.Popen(
            [
                *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"),
                *(f"--{name}={value}" for name, value in options.items()),
            ],
            env={**os.environ, **places, "IPYTHONDIR": str(folder / "ipython"), **env},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        end = time.monotonic() + 60
        while time.monotonic() < end:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{self._port}/api", timeout=2).close()
                return server
            time.sleep(0.1)
        server.kill()
        raise TimeoutError("JupyterLab did not start within a minute")

    def open(self, name: str, cells: Sequence[str] | None = None) -> Page:
        """Opens a notebook with these cells, or the one that lies in `root` by that name."""
        path = self.root / name
        if cells is not None:
            path.write_text(json.dumps(_notebook(cells)))
        page = self.context.new_page()
        page.goto(f"http://127.0.0.1:{self._port}/lab/tree/{name}?reset&token={self._token}")
        page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=60_000)
        opened = Page(page, path)
        opened.wait_for_idle()
        return opened

    def close(self) -> None:
        """Ends the browser, the server and its kernels."""
        with contextlib.suppress(Exception):
            self._browser.close()
        self._playwright.stop()
        self._server.send_signal(signal.SIGINT)
        self._server.send_signal(signal.SIGTERM)
        try:
            self._server.wait(10)
        except subprocess.TimeoutExpired:
            self._server.kill()
            self._server.wait(10)


class Page:
    """One notebook in its tab."""

    def __init__(self, page: Any, path: Path) -> None:
        self.page = page
        self.path = path

    def cell(self, number: int) -> Any:
        """Returns the cell of that number, from 0."""
        return self.page.locator(".jp-Notebook .jp-Cell").nth(number)

    def output(self, number: int) -> Any:
        """Returns the output area of a cell."""
        return self.cell(number).locator(".jp-OutputArea").first

    def text(self, number: int) -> str:
        """Returns the text of a cell's outputs, without their prompts."""
        outputs = self.cell(number).locator(".jp-OutputArea-output").all_inner_texts()
        return "\n".join(outputs).strip()

    def run(self, number: int, *, wait: bool = True) -> None:
        """Selects a cell and runs it."""
        self.cell(number).locator(".cm-content").first.click()
        self.page.keyboard.press("Control+Enter")
        if wait:
            self.wait_for_idle()

    def add(self, code: str, *, wait: bool = True) -> int:
        """Adds a cell at the end, runs it and returns its number."""
        number = self.page.evaluate(
            """async code => {
                const { content } = window.jupyterapp.shell.currentWidget;
                const number = content.widgets.length;
                content.model.sharedModel.insertCell(number, { cell_type: 'code', source: code });
                content.activeCellIndex = number;
                content.deselectAll();
                void window.jupyterapp.commands.execute('notebook:run-cell');
                return number;
            }""",
            code,
        )
        self.cell(number).locator(".jp-InputPrompt").get_by_text(re.compile(r"\[.+\]")).wait_for()
        if wait:
            self.wait_for_idle()
        return int(number)

    def interrupt(self) -> None:
        """Presses Stop, and waits until the kernel is idle."""
        self.page.evaluate("window.jupyterapp.commands.execute('notebook:interrupt-kernel')")
        self.wait_for_idle()

    def run_all(self) -> None:
        """Runs every cell; does not wait."""
        self.page.evaluate("void window.jupyterapp.commands.execute('notebook:run-all-cells')")

    def wait_for_idle(self, seconds: float = 60) -> None:
        """Waits until no cell is waiting and the kernel is idle."""
        self.page.wait_for_function(
            """() => {
                const panel = window.jupyterapp.shell.currentWidget;
                const kernel = panel?.sessionContext?.session?.kernel;
                const busy = [...document.querySelectorAll('.jp-InputPrompt')]
                    .some(prompt => prompt.textContent.includes('*'));
                return kernel && kernel.status === 'idle' && !busy;
            }""",
            timeout=seconds * 1000,
        )

    def follow(self, number: int, link: str = "Sign in", *, decision: str = "Approve") -> str:
        """Clicks a card's link, answers the consent page, and returns what the last page says."""
        with self.page.context.expect_page() as opened:
            self.output(number).get_by_role("link", name=link).click()
        tab = opened.value
        tab.get_by_role("button", name=decision).click()
        tab.wait_for_url("**/callback/done*")
        text = str(tab.inner_text("body"))
        tab.close()
        return text

    def sign_in(self, number: int) -> None:
        """Finishes the sign-in of the card in a cell."""
        self.follow(number)
        self.output(number).get_by_text("Connected").wait_for()

    def theme(self, *, dark: bool) -> None:
        """Changes the theme, and waits until everything has it."""
        name = "JupyterLab Dark" if dark else "JupyterLab Light"
        self.page.evaluate(
            "theme => window.jupyterapp.commands.execute('apputils:change-theme', { theme })", name
        )
        self.page.wait_for_function(
            """([name, light]) => document.body.dataset.jpThemeName === name
                && document.body.dataset.jpThemeLight === light
                && getComputedStyle(document.body).getPropertyValue('--jp-ui-font-color2')""",
            arg=[name, str(not dark).lower()],
        )

    @contextmanager
    def narrow(self, width: int) -> Iterator[None]:
        """Has the window so many pixels for the block."""
        before = self.page.viewport_size
        self.page.set_viewport_size({**before, "width": width})
        try:
            self.page.wait_for_function("width => window.innerWidth === width", arg=width)
            yield
        finally:
            self.page.set_viewport_size(before)

    def contrasts(self, number: int) -> dict[str, float]:
        """Returns every text that a cell's outputs show, and its contrast (WCAG 2.2, 1.4.3)."""
        outputs = self.cell(number).locator(".jp-OutputArea-output").all()
        return dict(pair for output in outputs for pair in output.evaluate(CONTRASTS))

    def scrolls_sideways(self, number: int) -> bool:
        """Tells whether an output as a whole is wider than its place."""
        return bool(
            self.cell(number)
            .locator(".jp-OutputArea-output")
            .evaluate_all("all => all.some(out => out.scrollWidth > out.clientWidth + 1)")
        )

    def tab_to(self, target: Any, *, steps: int = 40) -> None:
        """Presses Tab until an element has the focus."""
        for _ in range(steps):
            if target.evaluate("element => element === document.activeElement"):
                return
            self.page.keyboard.press("Tab")
        raise AssertionError("Tab does not lead there")

    def save(self) -> str:
        """Saves the notebook and returns what is in the file."""
        self.page.evaluate("window.jupyterapp.commands.execute('docmanager:save')")
        return self.path.read_text()

    def close(self) -> None:
        """Closes the tab and ends the kernel."""
        self.page.evaluate("window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
        self.page.close()


def _notebook(cells: Sequence[str]) -> dict[str, Any]:
    return {
        "cells": [
            {
                "cell_type": "code",
                "id": f"cell-{number}",
                "metadata": {},
                "execution_count": None,
                "outputs": [],
                "source": code,
            }
            for number, code in enumerate(cells)
        ],
        "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3 (ipykernel)"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }


@contextmanager
def jupyterlab(folder: Path, **options: Any) -> Iterator[Lab]:
    """A `Lab` that is closed at the end."""
    lab = Lab(folder, **options)
    try:
        yield lab
    finally:
        lab.close()
