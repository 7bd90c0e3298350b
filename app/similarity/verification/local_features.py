"""Local features of an image: SIFT points with RootSIFT descriptors, and the reduced picture they were found in.

Sources: D. Lowe, Distinctive Image Features from Scale-Invariant Keypoints, IJCV 2004; R. Arandjelović, A. Zisserman,
Three things everyone should know to improve object retrieval, CVPR 2012 (RootSIFT).
"""

import io
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from app.similarity.verification.pictures import RADIUS, Grey, Thumbnail, Values, build_thumbnail, normalise

# Part of the cache key of stored features. Change it whenever the features change.
VERSION = "sift 1"
# Longer side of the reduced picture. Lines of a woodcut 100 to 700 pixels wide stay distinguishable.
SIDE = 384
# Smaller images are enlarged, but not beyond this factor.
LARGEST_ENLARGEMENT = 4.0
# A picture with a shorter side than this has no features.
SHORTEST_SIDE = 16
MOST_POINTS = 500
# Half of the usual 0.04: faint prints keep features.
CONTRAST = 0.02
# RootSIFT values are stored as value × 255, rounded. Values above 1 do not occur.
QUANTUM = 255.0
JPEG_QUALITY = 95


@dataclass(frozen=True)
class LocalFeatures:
    """The local features of an image.

    Attributes:
        size: (width, height) of the full-size image, in pixels.
        picture: Reduced grey picture ``(height, width)``, longer side ``SIDE``.
        points: ``(k, 2)`` float32 positions (x, y) in pixels of the picture.
        descriptors: ``(k, 128)`` uint8 RootSIFT descriptors.
    """

    size: tuple[float, float]
    picture: Grey
    points: NDArray[np.float32]
    descriptors: NDArray[np.uint8]

    @property
    def scale(self) -> tuple[float, float]:
        """Number of full-size pixels per picture pixel, (horizontal, vertical)."""
        return self.size[0] / self.picture.shape[1], self.size[1] / self.picture.shape[0]

    @cached_property
    def unit_descriptors(self) -> NDArray[np.float32]:
        """Descriptors as unit vectors ``(k, 128)`` float32."""
        rows = self.descriptors.astype(np.float32)
        return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)

    @cached_property
    def normalised(self) -> Values:
        """The picture with local contrast normalised."""
        return normalise(self.picture, RADIUS)

    @cached_property
    def thumbnail(self) -> Thumbnail:
        return build_thumbnail(self.picture)

    def pack(self) -> bytes:
        """Return the features as the content of a file: about 80 KB."""
        file = io.BytesIO()
        _, picture = cv2.imencode(".jpg", self.picture, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        np.savez(file, size=np.array(self.size), picture=picture, points=self.points, descriptors=self.descriptors)
        return file.getvalue()

    @classmethod
    def unpack(cls, data: bytes) -> "LocalFeatures":
        """Parse the content of a file written by :meth:`pack`."""
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            width, height = arrays["size"].tolist()
            picture = cv2.imdecode(arrays["picture"], cv2.IMREAD_GRAYSCALE)
            return cls((width, height), np.asarray(picture, np.uint8), arrays["points"], arrays["descriptors"])


def extract_features(pixels: NDArray[np.uint8], size: tuple[float, float] | None = None) -> LocalFeatures:
    """Extract the local features of an image. An image without structure has none.

    Args:
        pixels: RGB array ``(height, width, 3)``, which may be a reduced decode of the image.
        size: (width, height) of the full-size image, in pixels; None if ``pixels`` has every pixel.
    """
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    height, width = grey.shape
    scale = min(SIDE / max(height, width), LARGEST_ENLARGEMENT)
    target = max(1, round(width * scale)), max(1, round(height * scale))
    reduced = cv2.resize(grey, target, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    points = np.empty((0, 2), np.float32)
    descriptors = np.empty((0, 128), np.uint8)
    if min(target) >= SHORTEST_SIDE:
        sift = cv2.SIFT.create(nfeatures=MOST_POINTS, contrastThreshold=CONTRAST)
        keypoints, raw = sift.detectAndCompute(reduced, None)
        if raw is not None:
            # OpenCV may return a few more points of equal response.
            points = np.array([point.pt for point in keypoints[:MOST_POINTS]], np.float32)
            roots = np.sqrt(raw[:MOST_POINTS] / np.maximum(raw[:MOST_POINTS].sum(axis=1, keepdims=True), 1e-6))
            descriptors = np.rint(roots * QUANTUM).astype(np.uint8)
    return LocalFeatures(size or (width, height), reduced.astype(np.uint8), points, descriptors)
