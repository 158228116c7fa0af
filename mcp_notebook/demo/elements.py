"""The chemical elements: the demo's data, and a picture of them.

`elements.csv` holds commonly published values: atomic weights abridged to five digits (the mass
number of a long-lived isotope where there is none), electronegativity after Pauling, melting
points near atmospheric pressure, densities near room temperature (gases at 0 °C), and the year
usually given for the discovery. An empty field means not known, not defined, or, for the year,
known since antiquity.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from typing import Literal

from pydantic import BaseModel, Field

from mcp_notebook.demo.png import png

Quantity = Literal["electronegativity", "mass_u", "melting_k", "density_g_cm3", "discovered"]

CELL, GAP = 26, 2
COLUMNS, ROWS = 18, 9
BACK, UNKNOWN = (255, 255, 255), (214, 217, 222)
SCALE = ((46, 32, 98), (38, 98, 142), (38, 158, 136), (122, 206, 88), (250, 226, 62))
"""From low to high, each step lighter: readable without seeing hues."""


class Element(BaseModel):
    """One chemical element."""

    number: int = Field(description="Protons in the nucleus")
    symbol: str
    name: str
    mass_u: float = Field(description="Standard atomic weight, in daltons")
    period: int
    group: int | None = Field(description="1 to 18; none in the f block")
    block: Literal["s", "p", "d", "f"]
    electronegativity: float | None = Field(description="After Pauling")
    melting_k: float | None = Field(description="Melting point, in kelvins")
    density_g_cm3: float | None = Field(description="In grams per cubic centimetre")
    discovered: int | None = Field(description="Year; none where known since antiquity")


@cache
def elements() -> tuple[Element, ...]:
    """Returns all 118, by number."""
    text = files(__package__).joinpath("elements.csv").read_text("utf-8")
    rows = csv.DictReader(text.splitlines())
    return tuple(
        Element.model_validate({name: value or None for name, value in row.items()}) for row in rows
    )


def find(text: str) -> Element | None:
    """Returns the element with this symbol, name or number, or None."""
    wanted = text.strip().casefold()
    for element in elements():
        if wanted in (element.symbol.casefold(), element.name.casefold(), str(element.number)):
            return element
    return None


def heat_map(quantity: Quantity) -> bytes:
    """Returns the periodic table as a PNG; the lighter a cell, the higher its rank."""
    known = {e.number: value for e in elements() if (value := getattr(e, quantity)) is not None}
    ranks = {value: place for place, value in enumerate(sorted(set(known.values())))}
    colours = {
        number: _colour(ranks[value] / max(len(ranks) - 1, 1)) for number, value in known.items()
    }
    cells = {_place(e): colours.get(e.number, UNKNOWN) for e in elements()}
    return png(list(_lines(cells)), width=COLUMNS * (CELL + GAP) + GAP)


def _place(element: Element) -> tuple[int, int]:
    """The column and row; the f block stands below the rest, under its gap in group 3."""
    if element.group is not None:
        return element.group - 1, element.period - 1
    first = 57 if element.period == 6 else 89
    return 2 + element.number - first, element.period + 1


def _colour(share: float) -> tuple[int, int, int]:
    step = min(int(share * (len(SCALE) - 1)), len(SCALE) - 2)
    part = share * (len(SCALE) - 1) - step
    low, high = SCALE[step], SCALE[step + 1]
    red, green, blue = (round(a + (b - a) * part) for a, b in zip(low, high, strict=True))
    return red, green, blue


def _lines(cells: dict[tuple[int, int], tuple[int, int, int]]) -> Iterable[bytes]:
    gap = bytes(BACK) * GAP
    empty = gap + (bytes(BACK) * CELL + gap) * COLUMNS
    for row in range(ROWS):
        line = gap
        for column in range(COLUMNS):
            line += bytes(cells.get((column, row), BACK)) * CELL + gap
        yield from [empty] * GAP + [line] * CELL
    yield from [empty] * GAP
