"""slime's own parser, from its sources, on a machine without GPUs: reads arguments from a file, prints what it made."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

from absent import mocked

mocked("ray", "sglang_router", "torch_memory_saver", "ring_flash_attn", "omegaconf", "wandb", "pylatexenc", "six")
import torch  # noqa: E402

# Megatron asks which GPU it is: an H100.
torch.cuda.get_device_properties = lambda _device: SimpleNamespace(major=9, minor=0)

from slime.utils.arguments import parse_args  # noqa: E402

sys.argv = ["train.py", *json.loads(Path(sys.argv[1]).read_text())]
made = vars(parse_args())
plain = {name: value for name, value in made.items() if isinstance(value, bool | int | float | str | None)}
print("\n" + json.dumps(plain))
