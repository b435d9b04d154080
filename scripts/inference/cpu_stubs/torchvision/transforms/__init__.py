"""Import-only stand-in; see torchvision."""

from enum import Enum

from sgl_kernel import absent


class InterpolationMode(Enum):
    """Names of interpolations; transformers asks for them when it is imported."""

    NEAREST = "nearest"
    NEAREST_EXACT = "nearest-exact"
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"
    BOX = "box"
    HAMMING = "hamming"
    LANCZOS = "lanczos"


__getattr__ = absent(__name__)

import torchvision.transforms.functional  # noqa: E402,F401 - not by name: that would be a stand-in
