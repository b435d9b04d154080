"""SGLang's own classes; see vllm."""

from sglang.srt.layers.layernorm import GemmaRMSNorm, RMSNorm  # noqa: F401
