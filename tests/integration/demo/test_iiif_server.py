import io
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from PIL import Image

from app.demo.iiif_server import create_iiif_server
from tests.unit.images.test_orientation import save_tagged


@pytest.fixture
def server(tmp_path: Path) -> FlaskClient:
    """A server with one white page that has a black rectangle at 60,80,30,40."""
    page = Image.new("L", (300, 400), "white")
    page.paste("black", (60, 80, 90, 120))
    page.save(tmp_path / "page.png")
    return create_iiif_server(tmp_path).test_client()


@pytest.mark.parametrize(
    ("path", "size"),
    [
        ("full/max", (300, 400)),
        ("full/150,", (150, 200)),
        ("60,80,30,40/max", (30, 40)),
        ("60,80,30,40/15,", (15, 20)),
        ("290,390,50,50/max", (10, 10)),
    ],
)
def test_images_and_regions_are_served_at_the_requested_size(
    server: FlaskClient, path: str, size: tuple[int, int]
) -> None:
    answer = server.get(f"/iiif/page.png/{path}/0/default.jpg")
    with Image.open(io.BytesIO(answer.data)) as image:
        assert image.size == size
        black = image.convert("L").getextrema()[1] < 60
    assert black == path.startswith("60,80")


@pytest.mark.parametrize("path", ["300,0,5,5/max", "0,0,0,5/max", "a,b,c,d/max", "full/301,", "full/nothing", "full/,"])
def test_invalid_regions_and_sizes_are_answered_with_400(server: FlaskClient, path: str) -> None:
    assert server.get(f"/iiif/page.png/{path}/0/default.jpg").status_code == 400


@pytest.mark.usefixtures("server")
def test_a_file_that_is_no_image_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "damaged.jpg").write_bytes(b"not an image")
    manifest = create_iiif_server(tmp_path).test_client().get("/manifest.json").get_json()
    assert len(manifest["items"]) == 1
    assert "damaged.jpg is left out" in capsys.readouterr().out


def test_a_tagged_drawing_on_transparent_ground_is_served_upright_on_white(tmp_path: Path) -> None:
    drawing = Image.new("RGBA", (300, 400))
    drawing.paste("black", (60, 80, 90, 120))
    (tmp_path / "page.webp").write_bytes(save_tagged(drawing, 6, "WEBP"))
    server = create_iiif_server(tmp_path).test_client()
    assert server.get("/iiif/page.webp/info.json").get_json()["width"] == 300
    for path, size in (("full/150,", (150, 200)), ("50,70,50,60/max", (50, 60))):
        with Image.open(io.BytesIO(server.get(f"/iiif/page.webp/{path}/0/default.jpg").data)) as image:
            assert image.size == size
            assert image.getpixel((2, 2)) == (255, 255, 255)
            assert image.convert("L").getextrema()[0] < 20
