"""Test the parts of ``python -m bench workers`` that start no service."""

from pathlib import Path

from app.demo.iiif_server import create_iiif_server
from bench.politeness import draw_pages
from bench.workers import build_row, number_manifests


def test_a_row_shows_the_median_of_the_rounds() -> None:
    found = [(4, 2.0, 2), (4, 1.0, 1), (4, 8.0, 3)]
    assert build_row("network", 2, found, 1.9) == ["network", "2", "4", "2.0", "2.00", "1.90", "2, 1, 3"]
    assert build_row("network", 1, found, 1.0)[-1] == "–"


def test_each_manifest_of_a_library_leads_to_its_own_host(tmp_path: Path) -> None:
    draw_pages(tmp_path, 1)
    library = number_manifests(create_iiif_server(tmp_path))
    for host in ("http://127.0.0.1:1", "http://127.0.0.1:2"):
        assert f"{host}/iiif/0000.jpg" in library.test_client().get("/7/manifest.json", base_url=host).text
