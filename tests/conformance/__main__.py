"""Runs one leg, or some scenarios of it, and prints the table.

python -m tests.conformance [--leg NAME] [--scenario NAME ...]
"""

from __future__ import annotations

import argparse
import sys

from tests.conformance import suite
from tests.conformance.install import MissingError
from tests.conformance.suite import Leg, Outcome


def main() -> int:
    """Returns 0 where every scenario of the leg has passed."""
    asking = argparse.ArgumentParser(prog="python -m tests.conformance")
    asking.add_argument("--leg", choices=suite.legs(), default="default")
    asking.add_argument("--scenario", action="append", help="run this one; repeatable")
    asked = asking.parse_args()
    leg = suite.legs()[asked.leg]
    try:
        unknown = suite.unlisted(leg)
        outcomes = [_told(suite.run(leg, name)) for name in asked.scenario or leg.floors]
    except MissingError as error:
        print(error, file=sys.stderr)
        return 2
    print(table(leg, outcomes))
    for name in unknown:
        print(f"\nNo floor for {name}: the suite lists it, {asked.leg} does not.")
    return 1 if unknown or any(outcome.faults for outcome in outcomes) else 0


def _told(outcome: Outcome) -> Outcome:
    """Says at once how a scenario went: a leg takes minutes."""
    sign = "✗" if outcome.faults else "✓"
    print(f"{sign} {outcome.scenario} ({outcome.seconds:.1f} s)", file=sys.stderr)
    for fault in outcome.faults:
        print(f"    {fault}", file=sys.stderr)
    return outcome


def table(leg: Leg, outcomes: list[Outcome]) -> str:
    """Returns the results as a Markdown table, with what they leave out."""
    spec = leg.spec_version or "each scenario's own protocol version"
    lines = [
        f"`@modelcontextprotocol/conformance` {leg.suite}, {spec}",
        "",
        "| scenario | checks | floor | |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| `{outcome.scenario}` | {outcome.succeeded}/{outcome.judged} | {outcome.floor} "
        f"| {'failed' if outcome.faults else 'passed'} |"
        for outcome in outcomes
    ]
    passed = sum(not outcome.faults for outcome in outcomes)
    lines += ["", f"{passed} of {len(outcomes)} scenarios passed."]
    lines += [f"`{name}` is run with `{option}`." for name, option in leg.options.items()]
    lines += [f"`{name}` is not run: {why}." for name, why in leg.outside.items()]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
