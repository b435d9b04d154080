"""SGLang's own classes; see vllm."""

from sglang.srt.layers.activation import GeluAndMul, SiluAndMul  # noqa: F401
