"""Draw the four pages of the sample document, and write ``truth.json`` with the true boxes of their woodcuts.

The same font, seed and library versions give the same bytes.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from bench.sample.page import LINES, Page, line_y, spell
from bench.sample.pictures import cosmos, frontispiece, herb, landscape

TEXT = Path(__file__).with_name("text.txt")
SAMPLE = Path(__file__).parents[2] / "iiif" / "sample"
REGULAR = Path("/usr/share/fonts/opentype/ebgaramond/EBGaramond12-Regular.otf")
TURNS = (0.25, -0.35, 0.4, -0.2)  # rotation of each page in the scanner, in degrees


def title(page: Page) -> None:
    """Set the title page."""
    page.write("SPECVLVM NATVRÆ", page.middle, 360, 124)
    page.write(spell("in quo de sphaera mundi, deque herbarum claritate,"), page.middle, 465, 60, italic=True)
    page.write(spell("breviter & cum figuris agitur."), page.middle, 545, 60, italic=True)
    page.place(frontispiece(page.font), page.middle - 500, 640)
    page.write("ARTE NVMERORVM DELINEATVM,", page.middle, 2030, 56)
    page.write(spell("sine prelo, sine typis, sine manu."), page.middle, 2110, 52, italic=True)
    page.write("M. M. XXVI.", page.middle, 2200, 52)


def herbal(page: Page, words: list[str]) -> None:
    """Set a page of text around the herb."""
    page.write("DE HERBARVM CLARITATE", page.middle, 340, 54)
    page.compose(words, 2, (10, 26, 0, 660))
    page.place(herb(page.font), page.right - 620, line_y(10) - 20)
    page.note("Herbarum/inventores.", line_y(13))
    page.note("Herbarum/cognomina.", line_y(27))


def chapter(page: Page, words: list[str]) -> None:
    """Set a page without woodcuts, with its signature and catchword."""
    page.write("DE SPHÆRA, CAPVT PRIMVM", page.middle, 340, 54)
    initial, words[0] = words[0][0], words[0][1:].upper().replace("U", "V")
    page.write(initial, page.left, line_y(3) + 1, 142, "ls")
    page.compose(words, 2, (2, 4, 104, 0))
    notes = {3: "Divisio/operis.", 9: "Sphaera quid/Euclidi.", 13: "Theodosio.", 18: "Axis./Poli.", 22: "Elementa."}
    for k, text in notes.items():
        page.note(text, line_y(k))
    page.write("B ij", page.middle, line_y(LINES) + 10, 42)
    page.catchword(words)


def figures(page: Page, words: list[str]) -> None:
    """Set a page of text with the landscape at its top and the cosmos at its left side."""
    page.place(landscape(page.font), page.left, 272)
    page.compose(words, 11, (14, 25, 640, 0))
    page.place(cosmos(page.font), page.left, line_y(14) - 20)
    page.catchword(words)
    page.note("Aquae/tumor.", line_y(11))
    page.note("Caeli motus.", line_y(18))


def set_pages(font: Path, seed: int) -> list[Page]:
    """Return the four pages before they are rotated."""
    pages = [Page(k + 1, font, np.random.default_rng([seed, k])) for k in range(4)]
    herbs, heavens = [spell(text).split(" ") for text in TEXT.read_text("utf-8").strip().split("\n\n")]
    title(pages[0])
    herbal(pages[1], herbs)
    chapter(pages[2], heavens)
    figures(pages[3], heavens)
    return pages


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, default=SAMPLE, help="folder to write to (default: iiif/sample)")
    parser.add_argument(
        "--font", type=Path, default=REGULAR, help="OpenType font; its italic must be in the same folder"
    )
    parser.add_argument("--seed", type=int, default=1472, help="seed of the random generator (default: %(default)s)")


def run(arguments: argparse.Namespace) -> None:
    """Write the scans and the true boxes."""
    if not arguments.font.exists():
        sys.exit(f"There is no font {arguments.font}; install EB Garamond (Debian: fonts-ebgaramond) or set --font.")
    pages = set_pages(arguments.font, arguments.seed)
    truth = {}
    for k, (page, degrees) in enumerate(zip(pages, TURNS, strict=True)):
        page.turn(degrees)
        name = f"page_{page.number:04}.jpg"
        page.scan(back=pages[k ^ 1]).save(arguments.out / name, quality=80)
        truth[name] = page.boxes()
    (arguments.out / "truth.json").write_text(json.dumps(truth, indent=1) + "\n")
