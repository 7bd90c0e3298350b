"""From images to what a network looks at.

The whole image is scaled to the network's square, whatever its shape. Photographs are commonly cropped to their middle;
an illustration was cut out on purpose, and a tall and narrow one would lose its ends. Two prints of one block have one
shape, so both are stretched alike.
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
    """How a network was trained to see.

    Attributes:
        size: (height, width) of its input, in pixels.
        mean, std: Of red, green and blue, of values from 0 to 1.
        interpolation: ``bilinear`` or ``bicubic``; with a filter, so that scaling down passes over nothing.
    """

    size: tuple[int, int] = (224, 224)
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    interpolation: str = "bilinear"

    def scale(self, images: Sequence[Image], transpositions: Sequence[Transposition]) -> list[Image]:
        """Return a batch ``(n, height, width, 3)`` for each transposition of RGB images ``(height, width, 3)``."""
        if self.size[0] == self.size[1]:
            scaled = [self._scale(image) for image in images]
            return [np.stack([transpose(image, each) for image in scaled]) for each in transpositions]
        return [np.stack([self._scale(transpose(image, each)) for image in images]) for each in transpositions]

    def normalise(self, batch: torch.Tensor) -> torch.Tensor:
        """Return ``(n, 3, height, width)`` float32 of a batch ``(n, height, width, 3)`` uint8."""
        mean, std = (torch.tensor(each, device=batch.device).view(1, 3, 1, 1) * 255 for each in (self.mean, self.std))
        return batch.permute(0, 3, 1, 2).float().sub_(mean).div_(std)

    def _scale(self, image: Image) -> Image:
        if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
            raise ValueError(f"an RGB image (height, width, 3) is wanted, not {image.shape}")
        # Channels last in memory, for which torch has fast scaling of bytes. A copy of what cannot be written to or is
        # turned: torch takes neither.
        plain = image if image.flags.writeable and image.flags.c_contiguous else np.array(image, order="C")
        tensor = torch.from_numpy(plain).permute(2, 0, 1)[None]
        scaled = functional.interpolate(tensor, self.size, mode=self.interpolation, antialias=True)
        return cast(Image, scaled[0].permute(1, 2, 0).numpy())
