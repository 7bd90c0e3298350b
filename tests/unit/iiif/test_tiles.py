"""The size and the tiles to request from a static service."""

import json
import math
from typing import Any

import pytest

from app.iiif.image_api import ImageService
from app.iiif.image_info import ImageInfo, TileSet, parse_image_info
from app.iiif.tiles import MOST_TILES, Kind, list_renditions, needs_info

CONTEXT, LEVEL_0 = "http://iiif.io/api/image/2/context.json", "http://iiif.io/api/image/2/level0.json"
PIXELS = 170_000_000


def parse(members: dict[str, Any], size: tuple[int, int] = (4000, 6000)) -> ImageInfo:
    info = {"@context": CONTEXT, "profile": LEVEL_0, "width": size[0], "height": size[1]} | members
    return parse_image_info(json.dumps(info).encode(), ImageService("https://a.example/1", 2, 0))


def list_sizes(*sizes: tuple[int, int]) -> dict[str, Any]:
    return {"sizes": [{"width": width, "height": height} for width, height in sizes]}


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"tiles": [{"width": 512, "scaleFactors": [1, 2]}]}, [TileSet(512, 512, (1, 2))]),
        ({"tiles": {"width": "512", "height": "256", "scaleFactors": ["4", 1, 1]}}, [TileSet(512, 256, (1, 4))]),
        ({"tiles": [{"width": 512}]}, [TileSet(512, 512, (1,))]),
        ({"tiles": [{"width": 512, "scaleFactors": 2}]}, [TileSet(512, 512, (2,))]),
        ({"tiles": [{"width": 512, "scaleFactors": [0, -1, None, "x", 2.0]}]}, [TileSet(512, 512, (2,))]),
        ({"tile_width": 256, "tile_height": 512, "scale_factors": [1, 8]}, [TileSet(256, 512, (1, 8))]),
        ({"tile_width": 256}, [TileSet(256, 256, (1,))]),
        ({"tiles": [{"scaleFactors": [1]}, {"width": 0}, {"width": -1}, 7, None]}, []),
        ({"tiles": "512"}, []),
        ({"scale_factors": [1, 2]}, []),
    ],
)
def test_tiles_of_every_version_are_parsed(members: dict[str, Any], expected: list[TileSet]) -> None:
    assert [*parse(members).tiles] == expected


def choose(members: dict[str, Any], longest: int, size: tuple[int, int] = (4000, 6000)) -> tuple[str, int]:
    best = list_renditions(parse(members, size), longest, PIXELS)[0]
    return best.kind.name, best.longest


POWERS = {"tiles": [{"width": 256, "scaleFactors": [1, 2, 4, 8, 16, 32]}]}


@pytest.mark.parametrize(
    ("members", "longest", "expected"),
    [
        (POWERS, 800, ("TILED", 1500)),
        (POWERS, 750, ("TILED", 750)),
        (POWERS, 100, ("TILED", 188)),
        (POWERS, 6000, ("WHOLE", 6000)),
        (POWERS, 99_999, ("WHOLE", 6000)),
        (POWERS | list_sizes((100, 150)), 800, ("TILED", 1500)),
        (POWERS | list_sizes((100, 150)), 120, ("LISTED", 150)),
        (POWERS | list_sizes((600, 900)), 800, ("LISTED", 900)),
        (POWERS | list_sizes((600, 900)), 750, ("TILED", 750)),
        (POWERS | list_sizes((1000, 1500)), 800, ("LISTED", 1500)),
        (POWERS | list_sizes((500, 750)), 800, ("LISTED", 750)),
        (POWERS | list_sizes((400, 600)), 800, ("TILED", 1500)),
        ({"tiles": [{"width": 256, "scaleFactors": [1, 16]}]}, 800, ("WHOLE", 6000)),
        ({"tiles": [{"width": 256, "scaleFactors": [3, 5]}]}, 800, ("TILED", 1200)),
        ({"tiles": [{"width": 256, "scaleFactors": [8]}]}, 1200, ("TILED", 750)),
        ({"tiles": [{"width": 256, "scaleFactors": [32]}]}, 1200, ("WHOLE", 6000)),
        ({"tiles": [{"width": 1, "scaleFactors": [1, 2, 8]}]} | list_sizes((400, 600)), 800, ("LISTED", 600)),
    ],
)
def test_the_nearest_sufficient_size_is_chosen(
    members: dict[str, Any], longest: int, expected: tuple[str, int]
) -> None:
    assert choose(members, longest) == expected


def test_a_thumbnail_never_replaces_tiles() -> None:
    found = list_renditions(parse(POWERS | list_sizes((100, 150))), 800, PIXELS)
    assert [(each.kind, each.longest) for each in found] == [(Kind.TILED, 1500), (Kind.TILED, 3000), (Kind.WHOLE, 6000)]


def test_thumbnails_are_the_last_resort_of_a_server_without_tiles() -> None:
    members = {"tiles": [{"width": 1, "scaleFactors": [1]}]} | list_sizes((100, 150))
    found = list_renditions(parse(members), 800, PIXELS)
    assert [each.kind for each in found] == [Kind.WHOLE, Kind.LISTED]


def test_tiles_come_first_if_the_full_size_is_not_served_in_one_file() -> None:
    assert choose(POWERS | {"maxWidth": 1000}, 6000) == ("TILED", 6000)


def test_tiles_come_first_on_a_server_without_the_full_size() -> None:
    found = list_renditions(parse(POWERS), 6000, PIXELS, has_whole=False)
    assert [each.kind for each in found] == [Kind.TILED, Kind.WHOLE]


@pytest.mark.parametrize("size", [(4000, 6000), (1001, 1403), (256, 256), (257, 1), (1, 1), (2049, 1025)])
@pytest.mark.parametrize("factor", [1, 2, 3, 8, 4096])
def test_the_tiles_cover_the_image_without_overlap(size: tuple[int, int], factor: int) -> None:
    found = list_renditions(parse({"tiles": [{"width": 256, "scaleFactors": [factor]}]}, size), 1, PIXELS)
    tiled = next(each for each in found if each.kind is Kind.TILED)
    assert (tiled.width, tiled.height) == (math.ceil(size[0] / factor), math.ceil(size[1] / factor))
    right = max(x + w for x, _, w, _ in (tile.box for tile in tiled.tiles))
    bottom = max(y + h for _, y, _, h in (tile.box for tile in tiled.tiles))
    assert sum(tile.box[2] * tile.box[3] for tile in tiled.tiles) == right * bottom
    assert 0 <= size[0] - right < factor
    assert 0 <= size[1] - bottom < factor


def test_no_rendition_exceeds_the_limits_of_tiles_and_pixels() -> None:
    members = {"tiles": [{"width": 1, "height": 10**9, "scaleFactors": [*range(1, 100), 10**9]}]}
    found = list_renditions(parse(members, (10**9, 10**9)), 5000, PIXELS)
    assert max(len(each.tiles) for each in found) <= MOST_TILES
    assert all(each.width * each.height <= PIXELS for each in found if each.kind is Kind.TILED)


def test_info_json_is_needed_unless_a_listed_size_is_best() -> None:
    assert needs_info(parse(POWERS), 800)
    assert needs_info(parse(POWERS | list_sizes((100, 150))), 800)
    assert not needs_info(parse(POWERS | list_sizes((1000, 1500))), 800)
    assert not needs_info(parse(list_sizes((100, 150))), 800)
    level_1 = parse(POWERS | {"profile": "http://iiif.io/api/image/2/level1.json"})
    assert not needs_info(level_1, 800)
