"""GPUs, from their makers' data sheets."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Gpu:
    """A GPU.

    Attributes
    ----------
    name
        For people.
    device
        What the name that CUDA gives it contains.
    memory
        Bytes that nvidia-smi shows.
    bandwidth
        Bytes a second from its memory.
    bf16, fp32
        Operations a second of matrices, without sparsity: in bfloat16, and in float32 on the CUDA cores (torch's
        default for float32).
    """

    name: str
    device: str
    memory: float
    bandwidth: float
    bf16: float
    fp32: float


GPUS = {
    "a100": Gpu("A100 80GB", "A100", 85.9e9, 2.04e12, 312e12, 19.5e12),
    "b200": Gpu("B200 180GB", "B200", 192.3e9, 8e12, 2250e12, 75e12),
    "h100": Gpu("H100 80GB", "H100", 85.5e9, 3.35e12, 989e12, 67e12),
    "h100-pcie": Gpu("H100 PCIe 80GB", "H100 PCIe", 85.5e9, 2.0e12, 756e12, 51e12),
    "h200": Gpu("H200 141GB", "H200", 150.8e9, 4.8e12, 989e12, 67e12),
    "l40s": Gpu("L40S 48GB", "L40S", 48.3e9, 0.864e12, 362e12, 91.6e12),
}


def known(device: str) -> Gpu | None:
    """The GPU that CUDA gives this name, None if it is not listed, or a part of one (MIG).

    >>> known("NVIDIA H100 PCIe").name, known("NVIDIA H100 80GB HBM3").name
    ('H100 PCIe 80GB', 'H100 80GB')
    >>> known("NVIDIA A100-SXM4-80GB MIG 1g.10gb") is None
    True
    """
    fitting = [gpu for gpu in GPUS.values() if gpu.device in device and "MIG" not in device.split()]
    return max(fitting, key=lambda gpu: len(gpu.device), default=None)
