"""Import-only stand-in for torchvision; see sgl_kernel. SGLang 0.5.6 imports it for image models only."""

from sgl_kernel import refuse_on_cuda

refuse_on_cuda(__name__)
__version__ = "0.0.0+stand.in"

from torchvision import transforms  # noqa: E402,F401
