"""Import-only stand-in; see torchvision."""

from sgl_kernel import absent

from torchvision.transforms import InterpolationMode  # noqa: F401

__getattr__ = absent(__name__)
