"""Makes the README's pictures anew: python -m tests.driving.pictures."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from tests.driving.lab import Page, jupyterlab

IMAGES = Path(__file__).parents[2] / "notebooks" / "images"
CELLS = (
    "%load_ext mcp_notebook",
    "%mcp demo",
    "%mcp connect demo",
    "demo.tools.table(limit=5)",
    "demo.tools.picture()",
)
CARD = CELLS.index("%mcp connect demo")
COLOURS = 128


def main() -> None:
    """Goes the quickstart's way, with a picture of the card and one of what comes of it."""
    with tempfile.TemporaryDirectory() as folder:
        env = {"MCP_NOTEBOOK_HOME": f"{folder}/home", "MCP_NOTEBOOK_TOKEN_STORE": "file"}
        with jupyterlab(Path(folder) / "lab", env=env, scale=2) as lab:
            nb = lab.open("notebook.ipynb", CELLS)
            for number in range(CARD + 1):
                nb.run(number)
            nb.output(CARD).get_by_role("link", name="Sign in").wait_for()
            picture(nb, [CARD], "card.png")
            nb.follow(CARD)
            for number in range(CARD + 1, len(CELLS)):
                nb.run(number)
            picture(nb, range(CARD, len(CELLS)), "results.png")


def picture(nb: Page, cells: Sequence[int], name: str) -> None:
    """Takes the cells from the page, one below the other."""
    nb.cell(0).locator(".cm-content").click()  # the selected cell looks different
    nb.page.mouse.move(0, 0)
    shots = [Image.open(io.BytesIO(nb.cell(number).screenshot())) for number in cells]
    whole = Image.new("RGB", (max(shot.width for shot in shots), sum(s.height for s in shots)))
    top = 0
    for shot in shots:
        whole.paste(shot, (0, top))
        top += shot.height
    whole.quantize(COLOURS, dither=Image.Dither.NONE).save(IMAGES / name, optimize=True)


if __name__ == "__main__":
    main()
