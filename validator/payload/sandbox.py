"""What the parsing worker gives up, in two steps: once when it starts, and again before it meets a stranger's bytes.

- **rlimits**, on every Unix: memory, processor time, core dumps, the growth of any file, and, since no descriptor is
  left to open, every new file and socket.
- **User, network and IPC namespaces**, on a Linux that lets users make them: every network interface and abstract
  socket.
- **Landlock**, Linux 5.13 and later, TCP from 6.7, signals from 6.12: the whole file tree, and signals to others.
- **An audit hook**, everywhere: Python's own way to sockets and processes. Native code passes it by.

A process that runs as root of the machine can lift its rlimits again, unless the namespaces could be made. `Held` says
what holds here. The kernel calls are made by ctypes: Python 3.11 has no binding of them, and of the libraries on PyPI
none is both maintained and widely used (docs/decisions/0018-a-confined-worker.md).
"""

from __future__ import annotations

import ctypes
import os
import resource
import sys
from dataclasses import dataclass

_CLONE_NEWIPC, _CLONE_NEWUSER, _CLONE_NEWNET = 0x08000000, 0x10000000, 0x40000000  # linux/sched.h
_PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 4, 38  # linux/prctl.h
_LANDLOCK_CREATE_RULESET, _LANDLOCK_RESTRICT_SELF = 444, 446  # the same on every architecture
_LANDLOCK_VERSION = 1
_FORBIDDEN = ("socket.", "subprocess.", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "os.system", "ctypes.")


@dataclass(frozen=True, slots=True)
class Held:
    """What holds on this machine: namespaces, and the version of Landlock (0: none)."""

    namespaces: bool = False
    landlock: int = 0


def leave_the_network() -> Held:
    """At the start, while the process has one thread and has seen nothing: no debugger, no core, no privilege to win
    back, no growing file, and namespaces of its own where the kernel makes them.
    """
    _limit({resource.RLIMIT_FSIZE: 0, resource.RLIMIT_CORE: 0, resource.RLIMIT_NOFILE: 16})
    if sys.platform != "linux":
        return Held()
    library = ctypes.CDLL(None, use_errno=True)
    library.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    library.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    apart = library.unshare(_CLONE_NEWUSER | _CLONE_NEWNET | _CLONE_NEWIPC) == 0
    return Held(apart, max(0, library.syscall(_LANDLOCK_CREATE_RULESET, None, 0, _LANDLOCK_VERSION)))


def confine(held: Held, cpu_seconds: int, address_space: int) -> None:
    """Before the first hostile byte: no file tree, no signal, no memory or time beyond the need, no new descriptor.

    Raises OSError when what `held` promises cannot be had.
    """
    if held.landlock:
        _landlock(held.landlock)
    _limit(
        {
            resource.RLIMIT_AS: address_space,
            resource.RLIMIT_CPU: cpu_seconds,
            resource.RLIMIT_NOFILE: 0,
        }
    )
    sys.addaudithook(_refuse)


def _limit(limits: dict[int, int]) -> None:
    for which, value in limits.items():
        _, hard = resource.getrlimit(which)
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(which, (value, value))


def _landlock(version: int) -> None:
    """A ruleset that handles all that this kernel knows to handle, and allows none of it (Documentation/userspace-api/
    landlock.rst).
    """
    files = (1 << {1: 13, 2: 14, 3: 15, 4: 15}.get(version, 16)) - 1
    fields = [files, *([0b11] if version >= 4 else []), *([0b11] if version >= 6 else [])]
    attributes = (ctypes.c_uint64 * len(fields))(*fields)
    library = ctypes.CDLL(None, use_errno=True)
    rules = library.syscall(_LANDLOCK_CREATE_RULESET, ctypes.byref(attributes), ctypes.sizeof(attributes), 0)
    if rules < 0 or library.syscall(_LANDLOCK_RESTRICT_SELF, rules, 0) != 0:
        raise OSError(ctypes.get_errno(), "the worker could not give up the file tree")
    os.close(rules)


def _refuse(event: str, _: tuple[object, ...]) -> None:
    if event.startswith(_FORBIDDEN):
        raise PermissionError(f"{event} is not for a parsing worker")
