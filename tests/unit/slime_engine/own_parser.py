"""slime's own parser, from its sources, on a machine without GPUs: reads arguments from a file, prints what it made.

Packages that only run on GPU nodes, and that the parser merely imports, are replaced by mocks.
"""

import importlib.abc
import importlib.machinery
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

ABSENT = ("ray", "sglang_router", "torch_memory_saver", "ring_flash_attn", "omegaconf", "wandb", "pylatexenc", "six")


class Mocks(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds what is absent."""

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ABSENT:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec):
        module = MagicMock(name=spec.name)
        module.__spec__, module.__path__, module.__version__ = spec, [], "0.3.0"
        return module

    def exec_module(self, module):
        pass


sys.meta_path.append(Mocks())
import torch  # noqa: E402

# Megatron asks which GPU it is: an H100.
torch.cuda.get_device_properties = lambda _device: SimpleNamespace(major=9, minor=0)

from slime.utils.arguments import parse_args  # noqa: E402

sys.argv = ["train.py", *json.loads(Path(sys.argv[1]).read_text())]
made = vars(parse_args())
plain = {name: value for name, value in made.items() if isinstance(value, bool | int | float | str | None)}
print("\n" + json.dumps(plain))
