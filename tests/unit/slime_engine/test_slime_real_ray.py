"""Ray itself, up and down, where RAY_PROGRAM names its program, for example that of an environment of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from slime_engine import cluster
from slime_engine.logs import parse_line

RAY = os.environ.get("RAY_PROGRAM", "")
pytestmark = pytest.mark.skipif(not Path(RAY).is_file(), reason="RAY_PROGRAM does not name Ray's program")

# In a process of its own, which adopts what loses its parent as train.py does.
UP_AND_DOWN = """
import json, os, subprocess, sys
from pathlib import Path
from slime_engine import cluster, nodes, processes
from slime_engine.keeper import adopt_orphans, descendants
adopt_orphans()
ray, folder = sys.argv[1], Path(sys.argv[2])
programs = cluster.Programs(folder / "train.py", folder, ray)
ports = nodes.free_ports(2)
variables = cluster.own_variables(os.environ, programs, folder, f"{nodes.ALONE}:{ports[0]}")
with cluster.ray(programs, nodes.Nodes(1, 2, ()), variables, ports, folder / "ray.log") as running:
    up = len(descendants(os.getpid()))
    command = [str(Path(ray).with_name("python")), "-u", str(folder / "train.py")]
    with processes.process(command, variables, subprocess.PIPE) as train:
        lines = [line.decode() for line in processes.lines(train.stdout) if line is not None]
        code = train.wait()
    running.check()
print(json.dumps({"up": up, "lines": lines, "code": code, "left": descendants(os.getpid())}))
"""
TRAIN = """
import os, time
import ray

@ray.remote(num_gpus=1, num_cpus=1)
class Actor:
    def work(self):
        print("[2025-12-12 10:00:00] model.py:674 - step 3: {'train/loss': nan}", flush=True)
        return os.environ["CUDA_DEVICE_MAX_CONNECTIONS"]

print(ray.get([actor.work.remote() for actor in [Actor.remote(), Actor.remote()]]))
time.sleep(2)  # what actors print comes a moment later
"""


def test_ray_starts_serves_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(TRAIN)
    variables = os.environ | {"PYTHONPATH": str(cluster.SCRIPTS)}
    done = subprocess.run(
        [sys.executable, "-c", UP_AND_DOWN, RAY, tmp_path], env=variables, capture_output=True, text=True
    )
    assert done.returncode == 0, (done.stderr, (tmp_path / "ray.log").read_text())
    told = json.loads(done.stdout.splitlines()[-1])
    assert (told["code"], told["left"]) == (0, [])
    assert told["up"] >= 2  # the control
    assert "['1', '1']" in told["lines"]
    records = [record for record in map(parse_line, told["lines"]) if record]
    assert [(record.kind, record.number) for record in records] == [("step", 3)] * 2
