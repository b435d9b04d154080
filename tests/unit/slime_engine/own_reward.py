"""slime's own call of the reward function, with its own samples: reads the answers from a file, prints the rewards."""

import argparse
import asyncio
import json
import sys
from pathlib import Path

from absent import mocked

mocked("ray", "aiohttp", "pylatexenc", "qwen_vl_utils")
from slime.rollout.rm_hub import async_rm  # noqa: E402
from slime.utils.types import Sample  # noqa: E402

given = json.loads(Path(sys.argv[1]).read_text())
samples = [Sample(**one | {"status": Sample.Status(one["status"])}) for one in given["samples"]]
args = argparse.Namespace(**given["arguments"])
print(json.dumps([asyncio.run(async_rm(args, sample)) for sample in samples]))
