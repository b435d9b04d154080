"""Loaded by every Python of a test that runs slime itself without a GPU: what is asked of CUDA means the CPU.

slime, Megatron-LM, Ray, SGLang and its router run as they are. Changed, when it is imported, is what cannot be had on a
CPU: the device and its memory, NCCL (gloo), CUDA's random state and kernels that PyTorch has no CPU version of.
"""

from __future__ import annotations

import contextlib
import importlib.abc
import importlib.util
import os
import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

CHANGES: dict[str, Callable[[Any], None]] = {}


def after(name: str) -> Callable[[Callable[[Any], None]], None]:
    """Call a function with this module once it is imported."""

    def keep(change: Callable[[Any], None]) -> None:
        CHANGES[name] = change

    return keep


class Changing(importlib.abc.MetaPathFinder):
    """Finds modules as Python does, and changes them when they are loaded."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        change = CHANGES.pop(name, None)
        if change is None:
            return None
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            CHANGES[name] = change
            return None
        execute = spec.loader.exec_module

        def executed(module: ModuleType) -> None:
            execute(module)
            change(module)

        spec.loader.exec_module = executed  # type: ignore[method-assign]
        return spec


sys.meta_path.insert(0, Changing())


@after("numpy")
def numpy_1(numpy: Any) -> None:
    """A name that Megatron-LM 0.14 uses and numpy 2 has no more."""
    numpy.product = numpy.prod


@after("torch")
def cuda(torch: Any) -> None:
    """An H100 to be asked of, streams that are none, and the CPU's random state."""
    memory = 80 << 30

    class Stream:
        def __init__(self, *_: Any, **__: Any) -> None: ...

        def wait_stream(self, _: Any) -> None: ...

        def synchronize(self) -> None: ...

    answers = {
        "get_device_properties": SimpleNamespace(major=9, minor=0, total_memory=memory),
        "get_device_capability": (9, 0),
        "mem_get_info": (memory, memory),
        **dict.fromkeys(("memory_allocated", "memory_reserved", "max_memory_allocated"), 0),
        **dict.fromkeys(("set_device", "synchronize", "empty_cache", "manual_seed", "ipc_collect")),
        "current_stream": Stream(),
    }
    for name, answer in answers.items():
        setattr(torch.cuda, name, lambda *_, answer=answer, **__: answer)
    torch.cuda.Stream = Stream
    torch.cuda.stream = lambda _: contextlib.nullcontext()
    torch.cuda.get_rng_state = lambda *_, **__: torch.get_rng_state()
    torch.cuda.set_rng_state = lambda state, *_, **__: torch.set_rng_state(state)
    torch._C._host_emptyCache = lambda: None


@after("torch.distributed")
def gloo(distributed: Any) -> None:
    """gloo, whatever backend is asked for."""
    start, group = distributed.init_process_group, distributed.new_group

    def init_process_group(backend: str | None = None, **given: Any) -> Any:
        return start(backend="gloo", **given)

    def new_group(
        ranks: Any = None, timeout: Any = None, backend: Any = None, pg_options: Any = None, **more: Any
    ) -> Any:
        return group(ranks, timeout, "gloo", None, **more)

    distributed.init_process_group, distributed.new_group = init_process_group, new_group


@after("slime.utils.reloadable_process_group")
def methods_of_today(module: Any) -> None:
    """slime wraps process groups and passes on what torch 2.9 calls; torch 2.13 calls some of it by other names."""
    import torch.distributed

    def passed_on(name: str) -> Callable[..., Any]:
        return lambda self, *args, **kwargs: self._fwd(name, *args, **kwargs)

    wrapper = module.ReloadableProcessGroup
    for name in set(dir(torch.distributed.ProcessGroup)) - set(vars(wrapper)):
        if not name.startswith("__") and name.endswith("_single"):
            setattr(wrapper, name, passed_on(name))


@after("slime.utils.arguments")
def dump(module: Any) -> None:
    """slime's own dump of what it trains on, where SLIME_DUMP says so."""
    parse = module.parse_args

    def parse_args(*args: Any, **kwargs: Any) -> Any:
        parsed = parse(*args, **kwargs)
        parsed.save_debug_train_data = os.environ.get("SLIME_DUMP")
        return parsed

    module.parse_args = parse_args


@after("slime.backends.megatron_utils.initialize")
def any_numpy(module: Any) -> None:
    """It refuses numpy 2."""
    import numpy

    module.np = SimpleNamespace(__version__="1.26", random=numpy.random)


@after("slime.backends.megatron_utils.model_provider")
def without_kernels(module: Any) -> None:
    """No fused rotary embedding, no gradients added up by TransformerEngine's kernel."""
    made = module.core_transformer_config_from_args

    def core_transformer_config_from_args(args: Any, *more: Any, **given: Any) -> Any:
        args.gradient_accumulation_fusion = args.apply_rope_fusion = False
        return made(args, *more, **given)

    module.core_transformer_config_from_args = core_transformer_config_from_args


@after("slime.backends.megatron_utils.actor")
def trainer(module: Any) -> None:
    """In the trainer's thread, tensors that are asked for on CUDA lie on the CPU."""
    import megatron.core.tensor_parallel.random as megatron_random
    import torch
    from torch.overrides import TorchFunctionMode

    cpu = torch.device("cpu")

    def meant(value: Any) -> Any:
        return cpu if isinstance(value, str | torch.device) and str(value).startswith("cuda") else value

    class CudaMeansCpu(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            kwargs = {name: meant(value) for name, value in (kwargs or {}).items() if name != "pin_memory"}
            if func in (torch.Tensor.cuda, torch.Tensor.pin_memory):
                return args[0]
            if func is torch.Tensor.to:
                args = tuple(map(meant, args))
            if func is torch.Tensor.type and len(args) == 1 and not kwargs:
                return func(args[0]).replace("torch.", "torch.cuda.", 1)
            return func(*args, **kwargs)

    actor = module.MegatronTrainRayActor
    start = actor.init

    def init(self: Any, *args: Any, **kwargs: Any) -> Any:
        torch.cuda.current_device = lambda: cpu
        CudaMeansCpu().__enter__()
        megatron_random._get_cuda_rng_state = lambda *_, **__: torch.get_rng_state()
        megatron_random._set_cuda_rng_state = lambda state, *_, **__: torch.set_rng_state(state)
        return start(self, *args, **kwargs)

    actor.init = init


@after("sglang.srt.utils.patch_torch")
def shared_memory(module: Any) -> None:
    """Weights are handed over by name in shared memory, instead of by a handle of a GPU's."""
    import torch.multiprocessing

    module.monkey_patch_torch_reductions = lambda: None
    torch.multiprocessing.set_sharing_strategy("file_system")


@after("sglang.srt.server_args")
def server_on_cpu(module: Any) -> None:
    """SGLang's server with what runs on a CPU."""
    check = module.ServerArgs.__post_init__

    def on_cpu(self: Any) -> None:
        self.device, self.attention_backend, self.dtype = "cpu", "torch_native", "float32"
        self.grammar_backend, self.disable_cuda_graph, self.disable_overlap_schedule = "none", True, True
        self.max_total_tokens, self.max_running_requests, self.enable_memory_saver = 16384, 64, False
        check(self)

    module.ServerArgs.__post_init__ = on_cpu
