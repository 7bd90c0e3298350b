"""Convert the colours of an image to RGB. Transparent parts become white, as on a page."""

from PIL import Image, ImageFile
from PIL.TiffImagePlugin import PHOTOMETRIC_INTERPRETATION

# Pillow converts colours that are multiplied with their opacity only to the same mode without the multiplication.
_UNMULTIPLIED = {"La": "LA", "RGBa": "RGBA"}
# Pillow scales the samples of these PNG files to 8 bits, but not their transparent colour.
_TRANSPARENT_SCALES = {"L;2": 255 / 3, "L;4": 255 / 15, "RGB;16B": 1 / 256}
_WHITE_IS_ZERO = 0


def flatten(image: ImageFile.ImageFile) -> Image.Image:
    """Decode an opened image file in RGB on a white ground.

    An image of 16 or 32 bits per pixel becomes lighter or darker, so that its lightest pixel is white. Pillow would
    clip larger values.
    """
    tiles = [*image.tile]  # decoding empties the list
    image.load()
    picture = _convert(image, tiles[0].args if tiles else None)
    if image.format != "GIF" or tiles[0].extents == (0, 0, *image.size):
        return picture
    # The first frame covers a part of the image. Browsers leave the rest transparent.
    page = Image.new("RGB", picture.size, "white")
    page.paste(picture.crop(tiles[0].extents), tiles[0].extents)
    return page


def _convert(image: Image.Image, samples: object) -> Image.Image:
    """Convert a decoded image to RGB on a white ground.

    Args:
        image: Decoded image.
        samples: Layout of the samples in the file, in words of Pillow.
    """
    if image.mode.startswith(("I", "F")):
        return _reduce_depth(image)
    if not image.has_transparency_data:
        return image if image.mode == "RGB" else image.convert("RGB")
    if samples in _TRANSPARENT_SCALES:
        image.info["transparency"] = _scale(image.info["transparency"], _TRANSPARENT_SCALES[samples])
    drawing = image.convert(_UNMULTIPLIED.get(image.mode, "RGBA"))
    drawing = drawing.convert("RGBA") if drawing.mode == "LA" else drawing
    page = Image.new("RGB", drawing.size, "white")
    page.paste(drawing, mask=drawing)
    return page


def _scale(colour: int | tuple[int, ...], factor: float) -> int | tuple[int, ...]:
    if isinstance(colour, int):
        return round(colour * factor)
    return tuple(int(sample * factor) for sample in colour)


def _reduce_depth(image: Image.Image) -> Image.Image:
    """Convert 16 or 32 bits per pixel to 8, so that the lightest pixel becomes 255."""
    import numpy as np  # here, because the web process decodes images without it

    values = np.array(image, dtype=np.float32)
    np.nan_to_num(values, copy=False, posinf=0, neginf=0).clip(0, out=values)
    if getattr(image, "tag_v2", {}).get(PHOTOMETRIC_INTERPRETATION) == _WHITE_IS_ZERO:
        values = (65535 if image.mode.startswith("I;16") else values.max()) - values
    lightest = float(values.max())
    grey = (values * (255 / lightest if lightest > 0 else 1)).astype(np.uint8)
    if "transparency" in image.info:
        grey[np.asarray(image) == image.info["transparency"]] = 255
    return Image.fromarray(grey).convert("RGB")
