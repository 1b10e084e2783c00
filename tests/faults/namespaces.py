"""Several machines on one: network namespaces on a bridge, each with an address of its own. Needs root and iproute2."""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

NETWORK = "10.213.77"


@dataclass(frozen=True)
class Machine:
    """name: of the namespace. link: its cable, which can be pulled."""

    name: str
    link: str

    def command(self, *arguments: str) -> list[str]:
        return ["ip", "netns", "exec", self.name, *arguments]

    def cut_off(self) -> None:
        _ip("link", "set", self.link, "down")

    def join(self) -> None:
        _ip("link", "set", self.link, "up")


def _ip(*arguments: str, within: str | None = None) -> None:
    command = ["ip", *(("-n", within) if within else ()), *arguments]
    subprocess.run(command, check=True, capture_output=True)


@contextmanager
def machines(count: int) -> Iterator[tuple[str, Sequence[Machine]]]:
    """Gives the address of the host on their network, and the machines. Skips where they cannot be made."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("network namespaces need root and iproute2")
    tag = uuid.uuid4().hex[:5]
    bridge = f"sp{tag}"
    made: list[Machine] = []
    try:
        try:
            _ip("link", "add", bridge, "type", "bridge")
            _ip("address", "add", f"{NETWORK}.1/24", "dev", bridge)
            _ip("link", "set", bridge, "up")
            # One by one, so that those made before a failure are taken away.
            made.extend(_machine(bridge, f"{bridge}m{number}", number) for number in range(count))
        except subprocess.CalledProcessError:
            pytest.skip("no rights to make network namespaces")
        yield f"{NETWORK}.1", tuple(made)
    finally:
        for machine in made:
            subprocess.run(["ip", "netns", "delete", machine.name], check=False, capture_output=True)
        subprocess.run(["ip", "link", "delete", bridge], check=False, capture_output=True)


def _machine(bridge: str, name: str, number: int) -> Machine:
    cable, inside = f"{name}o", f"{name}i"
    _ip("netns", "add", name)
    _ip("link", "add", cable, "type", "veth", "peer", "name", inside)
    _ip("link", "set", inside, "netns", name)
    _ip("link", "set", cable, "master", bridge, "up")
    _ip("address", "add", f"{NETWORK}.{10 + number}/24", "dev", inside, within=name)
    _ip("link", "set", inside, "up", within=name)
    _ip("link", "set", "lo", "up", within=name)
    return Machine(name, cable)
