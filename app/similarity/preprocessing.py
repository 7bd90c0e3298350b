"""Preprocessing of images for a backbone.

The whole image is scaled to the network's input size, without keeping the aspect ratio. The usual centre crop for
photographs would cut off the ends of a tall illustration. Two prints of the same block have the same shape, so both
are distorted alike.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from app.similarity.transpositions import Transposition, transpose

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class Preprocessing:
    """The preprocessing with which a network was trained.

    Attributes:
        size: (height, width) of the input, in pixels.
        mean, std: Mean and standard deviation of the RGB channels, for values from 0 to 1.
        interpolation: ``bilinear`` or ``bicubic``; always antialiased.
    """

    size: tuple[int, int] = (224, 224)
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    interpolation: str = "bilinear"

    def scale(self, images: Sequence[Image], transpositions: Sequence[Transposition]) -> list[Image]:
        """Scale RGB images ``(height, width, 3)``; return a batch ``(n, height, width, 3)`` for each transposition."""
        if self.size[0] == self.size[1]:
            scaled = [self._scale(image) for image in images]
            return [np.stack([transpose(image, each) for image in scaled]) for each in transpositions]
        return [np.stack([self._scale(transpose(image, each)) for image in images]) for each in transpositions]

    def reduce(self, image: Image) -> Image:
        """Scale an image if :meth:`scale` then gives the same result, to save memory."""
        return self._scale(image) if self.size[0] == self.size[1] else image

    def normalise(self, batch: torch.Tensor) -> torch.Tensor:
        """Normalise a batch: ``(n, height, width, 3)`` uint8 → ``(n, 3, height, width)`` float32."""
        mean, std = (torch.tensor(each, device=batch.device).view(1, 3, 1, 1) * 255 for each in (self.mean, self.std))
        return batch.permute(0, 3, 1, 2).float().sub_(mean).div_(std)

    def _scale(self, image: Image) -> Image:
        if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
            raise ValueError(f"image must be an RGB array (height, width, 3), not {image.shape}")
        # torch scales uint8 images fast if they are channels-last in memory. It does not accept read-only arrays or
        # negative strides, so these are copied.
        plain = image if image.flags.writeable and image.flags.c_contiguous else np.array(image, order="C")
        tensor = torch.from_numpy(plain).permute(2, 0, 1)[None]
        scaled = functional.interpolate(tensor, self.size, mode=self.interpolation, antialias=True)
        return cast(Image, scaled[0].permute(1, 2, 0).numpy())
