"""The addresses of a job's machines, on two of them, each with a network of its own and a name for its loopback."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from slime_engine import cluster
from slime_engine.address import interface_of, variables_of

HERE = Path(__file__).parent
STAND_INS = HERE.parents[1] / "workflow"
SOURCES = os.environ.get("SLIME_SOURCES", "")
ADDRESS = Path(cluster.__file__).with_name("address.py")
UNSHARE = ["unshare", "--net", "--mount", "--uts"]


def test_an_interface_is_found_by_its_address() -> None:
    assert interface_of("127.0.0.1") == "lo"
    assert interface_of("192.0.2.1") is None


def test_on_one_machine_the_router_listens_there_alone() -> None:
    assert variables_of("127.0.0.1", {}) == {"SLIME_HOST_IP": "127.0.0.1"}


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Runs a command on the first of two machines; the second is entered by ``nsenter``."""
    folder = tmp_path_factory.mktemp("machines")
    start = [*UNSHARE, "sh", str(HERE / "two_machines.sh"), str(folder)]

    def run(*command: str | Path, **variables: str) -> str:
        done = subprocess.run([*start, *command], env=os.environ | variables, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    if not shutil.which("ip") or subprocess.run([*start, "true"], capture_output=True).returncode:
        pytest.skip("networks of their own cannot be made here (as root, with iproute2)")
    return run


TELL = "import json, os, socket, sys; print(json.dumps({'argv': sys.argv[1:], 'environment': dict(os.environ), "
TELL += "'name': socket.gethostbyname(socket.gethostname())}))"


def on_the_other(machines: Any, program: str, *before: str, **variables: str) -> dict[str, Any]:
    """What a program says on the second machine, started directly or by what stands before it."""
    python = " ".join([*before, sys.executable, '-c "$PROGRAM"'])
    said = machines("sh", "-c", f"exec nsenter --target $OTHER --net {python}", PROGRAM=program, **variables)
    return json.loads(said.splitlines()[-1])


def test_another_machine_tells_its_own_address_where_its_name_stands_for_its_loopback(machines: Any) -> None:
    told = on_the_other(machines, TELL, sys.executable, str(ADDRESS), "10.77.0.1")
    assert told["name"] == "127.0.1.1"  # what the programs would take
    assert told["argv"] == ["--node-ip-address=10.77.0.2"]
    own = {"SLIME_HOST_IP": "10.77.0.2", "SGLANG_HOST_IP": "10.77.0.2", "GLOO_SOCKET_IFNAME": "there"}
    assert own.items() <= told["environment"].items()
    chosen = on_the_other(
        machines, TELL, sys.executable, str(ADDRESS), "10.77.0.1", GLOO_SOCKET_IFNAME="fast", SLIME_HOST_IP="10.77.0.1"
    )
    assert chosen["environment"]["GLOO_SOCKET_IFNAME"] == "fast"
    assert chosen["environment"]["SLIME_HOST_IP"] == "10.77.0.2"


# Gloo listens on what it tells the others: addresses of listening sockets, in hexadecimal, low byte first.
GLOO = """
import json, socket, torch.distributed as dist
dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
rows = [line.split() for line in open("/proc/self/net/tcp")][1:]
print(json.dumps([socket.inet_ntoa(bytes.fromhex(row[1][:8])[::-1]) for row in rows if row[3] == "0A"]))
"""


@pytest.mark.parametrize(
    ("before", "address"), [([], "127.0.1.1"), ([sys.executable, str(ADDRESS), "10.77.0.1"], "10.77.0.2")]
)
def test_gloo_listens_where_the_others_reach_it(machines: Any, before: list[str], address: str) -> None:
    assert on_the_other(machines, GLOO, *before) == [address]


@pytest.mark.skipif(not Path(SOURCES, "slime").is_dir(), reason="SLIME_SOURCES does not name slime's sources")
@pytest.mark.parametrize(
    ("before", "address"), [([], "127.0.1.1"), ([sys.executable, str(ADDRESS), "10.77.0.1"], "10.77.0.2")]
)
def test_slimes_router_listens_where_the_others_reach_it(machines: Any, before: list[str], address: str) -> None:
    path = Path(SOURCES, "slime", "utils", "http_utils.py")
    program = f"import json, runpy; print(json.dumps(runpy.run_path({str(path)!r})['get_host_info']()))"
    assert on_the_other(machines, program, *before) == ["debian", address]


# In place of srun: its tasks run on the second machine.
SRUN = """#!/bin/sh
while [ "$1" != env ]; do shift; done
SLURMD_NODENAME=n2 exec nsenter --target $OTHER --net "$@"
"""
UP = """
import json, os, sys, time
from pathlib import Path
from slime_stand_ins import build
from slime_engine import cluster, nodes
folder = Path(sys.argv[1])
os.environ.update(build(folder / "stand-ins"))
os.environ["PATH"] = f"{folder}:{os.environ['PATH']}:/usr/sbin:/sbin"
programs = cluster.Programs(folder / "train.py", folder, str(folder / "stand-ins" / "bin" / "ray"))
ports = nodes.free_ports(2)
variables = cluster.own_variables(os.environ, programs, folder, f"10.77.0.1:{ports[0]}")
told = [folder / "stand-ins" / f"ray{name}.json" for name in ("", "-n2")]
with cluster.ray(programs, nodes.Nodes(2, 1, ("n2",)), variables, ports, folder / "ray.log") as running:
    while not (Path.home() / "cache").exists():  # the second one has written its file before
        running.check()
        time.sleep(0.05)
print(json.dumps([json.loads(path.read_text()) for path in told]))
"""


def test_each_machines_ray_has_its_own_address(machines: Any, tmp_path: Path) -> None:
    (tmp_path / "srun").write_text(SRUN)
    (tmp_path / "srun").chmod(0o755)
    path = os.pathsep.join([str(cluster.SCRIPTS), str(STAND_INS)])
    said = machines(sys.executable, "-c", UP, tmp_path, HOME=str(tmp_path), PYTHONPATH=path, TMPDIR="/tmp")
    head, worker = json.loads(said.splitlines()[-1])
    for told, address, interface in ((head, "10.77.0.1", "here"), (worker, "10.77.0.2", "there")):
        assert f"--node-ip-address={address}" in told["argv"]
        names = ("SLIME_HOST_IP", "SGLANG_HOST_IP", "GLOO_SOCKET_IFNAME")
        assert [told["environment"][name] for name in names] == [address, address, interface]
    assert worker["argv"][0] == "start"
    assert f"--address={head['environment']['RAY_ADDRESS']}" in worker["argv"]
