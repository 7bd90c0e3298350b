"""The local features of images on disk: one file for each image file, shared by all jobs."""

import os
from contextlib import suppress
from pathlib import Path

from app.images.pixels import UNREADABLE, decode_image, read_size
from app.pipelines.image_cache import evict_damaged
from app.similarity.verification import LocalFeatures, extract_features
from app.similarity.verification.local_features import SIDE, VERSION
from app.storage import build_key, write_atomic


class FeatureStore:
    """The local features of all images.

    Args:
        root: Folder of the store.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._key = build_key(VERSION)[:8]

    def holds(self, digest: str) -> bool:
        """Return whether the features of an image are stored. This counts as a use for retention."""
        with suppress(FileNotFoundError):
            os.utime(self._place(digest))
            return True
        return False

    def find_or_compute(self, digest: str, image: Path) -> LocalFeatures:
        """Return the features of an image. If they are not stored, compute and store them.

        Args:
            digest: SHA-256 of the image file.
            image: Image file, usually in the image cache.

        Raises:
            FileNotFoundError: The features are not stored, and the image is missing or damaged. A damaged image is
                removed from the cache.
        """
        path = self._place(digest)
        with suppress(FileNotFoundError):
            os.utime(path)  # retention counts from the last use
            return LocalFeatures.unpack(path.read_bytes())
        data = _extract(image).pack()
        write_atomic(path, data)
        return LocalFeatures.unpack(data)  # exactly what a later run reads

    def _place(self, digest: str) -> Path:
        return self._root / digest[:2] / f"{digest}-{self._key}.npz"


def _extract(image: Path) -> LocalFeatures:
    """Extract the features of an image file. Their size is that of the file, in whole pixels."""
    try:
        with image.open("rb") as file:
            size = read_size(file)
            # A JPEG is decoded at twice the needed size or more: closer to it, fine lines are lost.
            pixels, _ = decode_image(file, 2 * SIDE)
    except UNREADABLE as error:
        evict_damaged(image, error)
        raise FileNotFoundError(image) from error
    return extract_features(pixels, size)
