"""From images to what a network looks at.

The whole image is scaled to the network's square, whatever its shape: an illustration was cut out on purpose, and
cropping its middle, as is done for photographs, would lose the ends of a tall and narrow one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional


@dataclass(frozen=True)
class Preprocessing:
    """How a network was trained to see.

    Attributes:
        size: (height, width) of its input, in pixels.
        mean, std: Of each channel, of values from 0 to 1.
        interpolation: ``bilinear`` or ``bicubic``; with a filter, so that shrinking passes over nothing.
    """

    size: tuple[int, int] = (224, 224)
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    interpolation: str = "bilinear"

    def prepare(self, images: Sequence[NDArray[np.uint8]], device: torch.device) -> torch.Tensor:
        """Return ``(n, 3, height, width)`` float32 on the device, of RGB images ``(height, width, 3)``."""
        batch = torch.cat([self._scale(image) for image in images]).to(device)
        mean, std = (torch.tensor(each, device=device).view(1, 3, 1, 1) for each in (self.mean, self.std))
        return batch.float().sub_(mean * 255).div_(std * 255)

    def _scale(self, image: NDArray[np.uint8]) -> torch.Tensor:
        # Channels last in memory, for which torch has fast scaling of bytes.
        tensor = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None]
        return functional.interpolate(tensor, self.size, mode=self.interpolation, antialias=True)
