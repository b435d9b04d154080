"""Import-only stand-in; see sgl_kernel."""

from sgl_kernel import absent

__getattr__ = absent(__name__)
