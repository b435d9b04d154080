"""Import-only stand-in for vLLM; see sgl_kernel.

Without Intel AMX, SGLang 0.5.6 ends its layers/activation.py and layers/layernorm.py by importing these
classes from vLLM. It is handed its own, whose CPU path is plain PyTorch.
"""

from sgl_kernel import refuse_on_cuda

refuse_on_cuda(__name__)
