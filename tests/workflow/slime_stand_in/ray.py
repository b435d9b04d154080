"""In place of `ray start --head --block`: listens, and has a process that lost its parent and left its session."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

folder = Path(os.environ["STAND_IN"])
(folder / "ray.json").write_text(json.dumps({"argv": sys.argv[1:], "environment": dict(os.environ)}))
subprocess.run([sys.executable, folder / "stray.py", folder / "strays"], check=True)
if "STAND_IN_NO_RAY" in os.environ:
    sys.exit("ports are taken")
given = dict(word.removeprefix("--").split("=", 1) for word in sys.argv if "=" in word)
with socket.create_server((given["node-ip-address"], int(given["port"]))):
    time.sleep(600)
