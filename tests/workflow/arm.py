"""A machine with an Arm processor, emulated: Debian in a folder, its programs run by QEMU."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

PACKAGES = "python3,python3-venv,git,ca-certificates"
EMULATOR = Path("/proc/sys/fs/binfmt_misc/qemu-aarch64")
# In a namespace of its own: /proc without the host's processor, and nothing to unmount.
ENTER = 'mount -t proc proc "$1/proc" && mount --bind /dev/null "$1/proc/cpuinfo" && exec chroot "$1" sh -c "$2"'


def missing() -> str:
    """What this machine lacks for it, or nothing."""
    programs = [name for name in ("debootstrap", "unshare", "chroot") if shutil.which(name) is None]
    if programs:
        return f"{', '.join(programs)}: not installed"
    if os.geteuid():
        return "only root makes and enters a Debian"
    known = EMULATOR.read_text() if EMULATOR.exists() else ""
    if "enabled" not in known or not re.search(r"^flags: .*F", known, re.MULTILINE):  # F: found inside a chroot, too
        return f"{EMULATOR}: not enabled (apt install qemu-user-static binfmt-support; update-binfmts --enable)"
    return ""


def make(root: Path) -> None:
    """Debian for 64-bit Arm, and what pip needs to know of this machine's network."""
    command = ["debootstrap", "--arch=arm64", "--variant=minbase", f"--include={PACKAGES}", "bookworm", root]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1800)
    assert done.returncode == 0, (done.stdout + done.stderr)[-2000:]
    for name in ("etc/resolv.conf", "etc/pip.conf", "etc/ssl/certs/ca-certificates.crt"):
        if (Path("/") / name).is_file():
            shutil.copy(Path("/") / name, root / name)


def run(root: Path, command: str, timeout: float) -> subprocess.CompletedProcess[str]:
    """Run a shell command in it."""
    given = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    return subprocess.run(
        ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", ENTER, "sh", root, command],
        env=given | {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
    )
