"""Become a program that knows where the other machines of its job reach this one.

    python scripts/slime_engine/address.py HEAD ray start --address=HEAD:6379 --block

slime's router, SGLang and PyTorch's Gloo ask for the address of the machine's own name, which often is a loopback one
(127.0.1.1 on Debian): no other machine reaches them there. It is started as a file, with nothing but Python.
"""

from __future__ import annotations

import contextlib
import fcntl
import ipaddress
import os
import socket
import struct
import sys
from collections.abc import Mapping

_SIOCGIFADDR = 0x8915  # linux/sockios.h: an interface's IPv4 address
INTERFACE = "GLOO_SOCKET_IFNAME"


def towards(other: str) -> str:
    """The IPv4 address of this machine on the way to another one; OSError if there is no way."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as way:
        way.connect((other, 9))  # sends nothing
        return str(way.getsockname()[0])


def interface_of(address: str) -> str | None:
    """The name of the network interface with this address; None if it is no interface's first one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        for _, name in socket.if_nameindex():
            with contextlib.suppress(OSError):  # it has none
                said = fcntl.ioctl(asked, _SIOCGIFADDR, struct.pack("256s", name.encode()))
                if socket.inet_ntoa(said[20:24]) == address:
                    return name
    return None


def variables_of(address: str, given: Mapping[str, str]) -> dict[str, str]:
    """What processes on the machine of this address have beside what those on all machines have.

    Parameters
    ----------
    given
        The environment: an interface that the user chose for Gloo stays.
    """
    # SGLang's router; its engines are at Ray's address.
    variables = {"SLIME_HOST_IP": address}
    if ipaddress.ip_address(address).is_loopback:
        return variables
    interface = None if given.get(INTERFACE) else interface_of(address)
    return variables | {"SGLANG_HOST_IP": address} | ({INTERFACE: interface} if interface else {})


def main() -> None:
    """Become the program, Ray on a machine that is not the head."""
    head, *command = sys.argv[1:]
    address = towards(head)
    os.environ.update(variables_of(address, os.environ))
    os.execvp(command[0], [*command, f"--node-ip-address={address}"])


if __name__ == "__main__":
    main()
