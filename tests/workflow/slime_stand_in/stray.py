"""Leaves its parent and its session, says who it is, and lasts."""

import os
import sys
import time

if os.fork():
    os._exit(0)
os.setsid()
with open(sys.argv[1], "a") as handle:
    handle.write(f"{os.getpid()} ")
time.sleep(600)
