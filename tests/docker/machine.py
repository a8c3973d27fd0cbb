"""A machine of its own, started by systemd, over this machine's disk: what it writes is in memory and goes with it.

Namespaces (mount, pid, ipc, uts, cgroup) and an overlay over the root, which becomes the root; the network is this
machine's. Needs root, util-linux and systemd; `missing()` says what is not there.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.docker.files import ROOT
from tests.faults.victim import die_with_parent

SYSTEMD = Path("/usr/lib/systemd/systemd")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SECONDS = 60
HOST = [Path(name) for name in ("/etc", "/etc/systemd/system", "/opt")]
WRITTEN = [Path("/run/password"), Path("/var/lib/poc-validator"), ROOT / "password", ROOT / "build"]
"""Where the guide's commands write."""
MASKED = [
    "systemd-sysctl.service",
    "systemd-modules-load.service",
    "modprobe@.service",
    "systemd-udevd.service",
    "systemd-udev-trigger.service",
    "systemd-remount-fs.service",
    "dev-hugepages.mount",
    "dev-mqueue.mount",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "sys-kernel-config.mount",
    "sys-fs-fuse-connections.mount",
    "tmp.mount",
    "systemd-tmpfiles-setup.service",
    "systemd-update-utmp.service",
    "timers.target",
]
"""Units that a system starts with and that would set the kernel, which is this machine's, or take up time."""

START = """
set -e
mount --make-rprivate /
mount -t tmpfs -o mode=755 machine "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" machine "$1/root"
cd "$1/root"
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 run run
mount -t tmpfs -o mode=755 dev dev
mkdir dev/pts dev/shm run/before
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts dev/pts
mount -t tmpfs -o mode=1777 shm dev/shm
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mknod -m 666 dev/null c 1 3
mknod -m 666 dev/zero c 1 5
mknod -m 666 dev/full c 1 7
mknod -m 666 dev/random c 1 8
mknod -m 666 dev/urandom c 1 9
mknod -m 666 dev/tty c 5 0
for unit in $2; do ln -sf /dev/null "etc/systemd/system/$unit"; done
printf '[Unit]\\nRequires=basic.target\\nAfter=basic.target\\n' > etc/systemd/system/machine.target
pivot_root . run/before
umount --lazy /run/before
mount --make-rshared /  # in a container systemd leaves that to whoever made it, and hands credentials over through it
exec env --ignore-environment container=machine PATH="$3" "$4" --system --unit=machine.target
"""


def missing() -> str:
    """Why there can be no such machine here; "" if there can."""
    if os.geteuid() != 0:
        return "needs root"
    for program in ("unshare", "nsenter", "pivot_root", str(SYSTEMD)):
        if shutil.which(program) is None:
            return f"needs {program}"
    elsewhere = [str(path) for path in (ROOT, Path(sys.prefix)) if path.stat().st_dev != Path("/").stat().st_dev]
    if elsewhere:
        return f"an overlay over / does not hold {', '.join(elsewhere)}, which is on another file system"
    if _cgroups() is None:
        return "needs a cgroup2 hierarchy"
    tried = subprocess.run(
        ["unshare", "--mount", "--pid", "--fork", "--cgroup", "--ipc", "--uts", "true"],
        capture_output=True,
        check=False,
    )
    return "" if tried.returncode == 0 else f"namespaces are refused: {tried.stderr.decode().strip()}"


def _cgroups() -> Path | None:
    for line in Path("/proc/mounts").read_text().splitlines():
        _, place, kind, *_ = line.split()
        if kind == "cgroup2":
            return Path(place)
    return None


class Machine:
    """Started with the block, ended with it, by its own pid. `folder` is an empty one, whose path the machine's disk
    is put at while it lasts.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        cgroups = _cgroups()
        assert cgroups is not None
        self._cgroup = cgroups / f"poc-machine-{os.getpid()}"

    def __enter__(self) -> Self:
        self._before = untouched()
        self._cgroup.mkdir()
        enter = f"echo $$ > {self._cgroup}/cgroup.procs; " + 'exec unshare "$@"'
        namespaces = ["--mount", "--pid", "--fork", "--kill-child", "--cgroup", "--ipc", "--uts"]
        begin = ["sh", "-c", START, "start", str(self._folder), " ".join(MASKED), PATH, str(SYSTEMD)]
        self._log = (self._folder.parent / f"{self._folder.name}.log").open("w+")
        self._process = subprocess.Popen(
            ["sh", "-c", enter, "enter", *namespaces, *begin],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            preexec_fn=die_with_parent,
        )
        try:
            self.until("systemd has started", lambda: self._first() is not None)
            self.until("the system is up", lambda: self.run("systemctl is-system-running").stdout == "running\n")
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()
        assert untouched() == self._before, "this machine is not as it was"

    def _first(self) -> int | None:
        """The pid here of the machine's first process, once that is systemd."""
        assert self._process.poll() is None, Path(self._log.name).read_text()
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        if not children or Path(f"/proc/{children[0]}/comm").read_text() != "systemd\n":
            return None
        return int(children[0])

    def _end(self) -> None:
        if (first := self._first() if self._process.poll() is None else None) is not None:
            os.kill(first, signal.SIGKILL)  # and with it all of its namespace
        self._process.kill()
        self._process.wait()
        self._log.close()
        self.until("its cgroups are empty", self._cgroups_gone)

    def _cgroups_gone(self) -> bool:
        for folder, _, _ in os.walk(self._cgroup, topdown=False):
            try:
                Path(folder).rmdir()
            except OSError:
                return False
        return True

    def run(self, command: str, seconds: float = SECONDS, **environment: str) -> subprocess.CompletedProcess[str]:
        """A line of shell, as root of the machine, in the checkout."""
        first = self._first()
        assert first is not None
        into = ["nsenter", "--target", str(first), "--mount", "--pid", "--ipc", "--uts", "--cgroup"]
        kept = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
        return subprocess.run(
            [*into, "sh", "-c", f"cd {shlex.quote(str(ROOT))}\n{command}"],
            env={**kept, "PATH": PATH, "HOME": "/root", "LANG": "C.UTF-8", **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
            cwd="/",  # else the shell misses the folder that it was started in
            stdin=subprocess.DEVNULL,
        )

    def type(self, command: str, seconds: float = SECONDS, **environment: str) -> str:
        """The same, which must succeed; returns what it prints."""
        done = self.run(command, seconds, **environment)
        assert done.returncode == 0, f"{command}\nexit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def until(self, what: str, condition: Callable[[], bool], seconds: float = SECONDS) -> None:
        """Wait for something to come about."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"{what}: not within {seconds:g} s\n{self._said()}"
            time.sleep(0.1)

    def _said(self) -> str:
        """The end of its journal, if it has got as far as having one."""
        if self._process.poll() is not None or self._first() is None:
            return Path(self._log.name).read_text()
        return self.run("journalctl --lines=40 --output=cat --no-pager").stdout


def untouched() -> dict[str, object]:
    """What of this machine must be the same afterwards: accounts, and what stands where the guide's commands write."""
    files: dict[str, object] = {name: Path(name).read_bytes() for name in ("/etc/passwd", "/etc/group", "/etc/shadow")}
    listed = {str(folder): sorted(path.name for path in folder.iterdir()) for folder in HOST if folder.is_dir()}
    return {**files, **listed, **{str(path): path.exists() for path in WRITTEN}}
