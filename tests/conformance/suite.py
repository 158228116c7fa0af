"""Runs the suite's scenarios one at a time and judges them by a floor.

The suite's own ``--suite`` mode starts everything at once and ignores how the client ends; and a
client that does nothing passes several scenarios, because nothing was found wrong. Here a scenario
has passed if the suite says so, the client ended well and in time, and at least as many different
checks succeeded as `floors.toml` demands.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from tests.conformance import install

ROOT = Path(__file__).parents[2]
CLIENT = f"exec {shlex.quote(sys.executable)} -m tests.conformance.client"
"""What the suite starts; ``exec``, because it ends the shell and not the shell's children."""

SCENARIO_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Leg:
    """One way to run the suite.

    Attributes:
        name: What it is called on the command line.
        suite: The suite's version.
        spec_version: The protocol version it is held to, or ``""`` for each scenario's own.
        floors: The scenarios, and how many different checks have to succeed in each.
        options: Options of ``%mcp add`` that a scenario needs because of its own faults;
            ``{origin}`` stands for the server's.
        outside: Scenarios that are about something else, and what.
    """

    name: str
    suite: str
    spec_version: str = ""
    floors: Mapping[str, int] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)
    outside: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one scenario.

    Attributes:
        scenario: Its name.
        succeeded: Different checks that succeeded.
        judged: Different checks that were judged at all.
        floor: How many have to succeed.
        seconds: How long it took.
        faults: What is wrong; empty if it has passed.
    """

    scenario: str
    succeeded: int
    judged: int
    floor: int
    seconds: float
    faults: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Run:
    """What the suite said about one scenario.

    Attributes:
        code: How its process ended.
        errors: What it wrote to stderr, the client's last words included.
        checks: Its checks, or None if it wrote none.
    """

    code: int
    errors: str
    checks: Sequence[Mapping[str, Any]] | None


@cache
def legs() -> dict[str, Leg]:
    """Returns the legs of `floors.toml`."""
    text = Path(__file__).with_name("floors.toml").read_text()
    return {name: Leg(name, **values) for name, values in tomllib.loads(text).items()}


def unlisted(leg: Leg) -> list[str]:
    """Returns the scenarios the suite lists for a leg and `floors.toml` says nothing of."""
    command = [*_suite(leg), "list", "--client", *_spec_version(leg)]
    listed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    names = re.findall(r"^  - (\S+)", listed.stdout, re.MULTILINE)
    known = leg.floors.keys() | leg.outside.keys()
    return [name for name in names if name not in known]


def run(leg: Leg, scenario: str, *, client: str = CLIENT) -> Outcome:
    """Runs one scenario and judges it.

    Args:
        leg: How.
        scenario: Which.
        client: The command to start; the suite appends the server's address.

    Raises:
        install.MissingError: The suite cannot be had on this machine.
    """
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="conformance-") as folder:
        command = [*_suite(leg), "client", "--command", client, "--scenario", scenario]
        command += ["--timeout", str(SCENARIO_SECONDS * 1000), "-o", folder, *_spec_version(leg)]
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=_environment(leg.options.get(scenario, "")),
            capture_output=True,
            text=True,
            check=False,
            timeout=SCENARIO_SECONDS + 30,
        )
        written = next(Path(folder).rglob("checks.json"), None)
        checks = json.loads(written.read_text()) if written is not None else None
    floor = leg.floors.get(scenario, 1)
    outcome = judge(scenario, Run(done.returncode, done.stderr, checks), floor=floor)
    return replace(outcome, seconds=time.monotonic() - began)


def judge(scenario: str, run: Run, *, floor: int) -> Outcome:
    """Judges what the suite said; a scenario that checked too little has not passed."""
    succeeded, failed = set(), set()
    faults = []
    for check in run.checks or ():
        # The suite repeats a check for every request; how many there are is the client's choice.
        which = (check["id"], check["description"])
        if check["status"] == "SUCCESS":
            succeeded.add(which)
        elif check["status"] in {"FAILURE", "WARNING"}:
            failed.add(which)
            about = check.get("errorMessage") or check["description"]
            faults.append(f"{check['status'].lower()} {check['id']}: {about}")
    count = len(succeeded - failed)
    if count < floor:
        faults.append(f"only {count} checks succeeded, {floor} have to")
    if "timed out" in run.errors:
        faults.append("the client did not end in time")
    if ended := re.search(r"Client exited with code (-?\d+)(?:\s+Stderr:\s+(.*))?", run.errors):
        faults.append(f"the client ended with {ended[1]}: {ended[2] or 'it said nothing'}")
    if run.code != 0 and not faults:
        faults.append(f"the suite ended with {run.code}: {run.errors.strip()[-300:]}")
    return Outcome(
        scenario=scenario,
        succeeded=count,
        judged=len(succeeded | failed),
        floor=floor,
        seconds=0.0,
        faults=tuple(faults),
    )


def _suite(leg: Leg) -> list[str]:
    return [str(install.node()), str(install.suite(leg.suite))]


def _spec_version(leg: Leg) -> list[str]:
    return ["--spec-version", leg.spec_version] if leg.spec_version else []


def _environment(options: str) -> dict[str, str]:
    return {
        **os.environ,
        # The suite's own processes start `node` by name.
        "PATH": f"{install.node().parent}{os.pathsep}{os.environ['PATH']}",
        "CONFORMANCE_OPTIONS": options,
    }
