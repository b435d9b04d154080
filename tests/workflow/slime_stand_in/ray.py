"""In place of `ray start --block`: with --head it listens, else it calls the head and leaves word of what it sees.

It has a process that lost its parent and left its session.
"""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

folder = Path(os.environ["STAND_IN"])
head = "--head" in sys.argv
seen = {"argv": sys.argv[1:], "environment": dict(os.environ), "cwd": os.getcwd(), "tmp": os.listdir("/tmp")}
seen["there"] = [path for path in os.environ.get("STAND_IN_LOOKS_FOR", "").split() if os.path.exists(path)]
subprocess.run([sys.executable, folder / "stray.py", folder / "strays"], check=True)
(folder / ("ray.json" if head else f"ray-{os.environ['SLURMD_NODENAME']}.json")).write_text(json.dumps(seen))
if "STAND_IN_NO_RAY" in os.environ:
    sys.exit("ports are taken")
given = dict(word.removeprefix("--").split("=", 1) for word in sys.argv if "=" in word)
if head:
    with socket.create_server((given["node-ip-address"], int(given["port"]))):
        time.sleep(600)
(Path.home() / "cache").write_text("of Ray")
host, port = given["address"].split(":")
with socket.create_connection((host, int(port))):
    time.sleep(600)
