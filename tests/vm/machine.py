"""One machine: a qemu process with a disk of its own, a directory shared with it, and an agent inside that runs scripts.

It has no way out: its one network card leads to an empty network.  It ends with this process, whatever ends that.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.vm.image import Image

BOOT = 240.0  # seconds; some 20 in software emulation
POLL = 0.1  # no event crosses the shared directory


@dataclass(frozen=True, slots=True)
class Result:
    """What a script inside left; both streams in `out`."""

    script: str
    code: int
    out: str

    def __str__(self) -> str:
        return f"{self.script}\n→ {self.code}\n{self.out[-6000:]}"


class Machine:
    """A context manager; its disk is thrown away at the end.  `append` is for the kernel's command line."""

    def __init__(self, image: Image, directory: Path, *, cpus: int = 2, memory: str = "3G", append: str = "") -> None:
        self.directory, self._image = directory, image
        self._cpus, self._memory, self._append = cpus, memory, append
        self.share = directory / "share"
        """Seen inside as /share; written through at once, also when the power goes."""
        self._jobs = 0
        self._boot = ""
        self._qemu: subprocess.Popen[bytes] | None = None
        self._port: socket.socket | None = None

    def __enter__(self) -> Self:
        (self.share / "jobs").mkdir(parents=True)
        disk = self.directory / "disk"
        make = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw"]
        subprocess.run([*make, "-b", self._image.disk, disk], check=True)
        self.power_on()
        return self

    def __exit__(self, *_: object) -> None:
        self.power_cut()
        shutil.rmtree(self.directory)

    # -- its power -----------------------------------------------------------------------------------------------------

    def power_on(self) -> None:
        """Boot, and wait until somebody inside listens.  Raises AssertionError with the end of the console."""
        try:
            self._boot_up()
        except AssertionError:
            # An assertion of qemu's own failed: a race of its emulation, seen once in some hundred boots (physmem.c).
            if self._qemu is None or self._qemu.poll() != -signal.SIGABRT:
                raise
            self._off(None)
            self._boot_up()

    def _boot_up(self) -> None:
        (self.share / "boot").unlink(missing_ok=True)
        with (self.directory / "qemu.log").open("ab") as log:
            # setpriv: nobody leaves a machine behind by being killed
            command = ["setpriv", "--pdeathsig", "KILL", *self._command()]
            self._qemu = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        # Held all the time: a port with nobody on it ends for the agent, who reads it.
        self._wait(self._connected, BOOT, "it does not open its ports")
        self.wait_booted()

    def power_cut(self) -> None:
        """Pull the plug: the disk stays as it is at this instant."""
        if self._qemu is not None:
            self._qemu.kill()
            self._off(None)

    def power_off(self, timeout: float = 180) -> None:
        """Shut it down in good order."""
        assert self._qemu is not None
        self._start_job("systemctl poweroff")
        self._off(timeout)

    def _off(self, timeout: float | None) -> None:
        assert self._qemu is not None
        self._qemu.wait(timeout)
        self._qemu = None
        if self._port is not None:
            self._port.close()
            self._port = None
        for name in ("agent", "console"):
            (self.directory / name).unlink(missing_ok=True)

    def _connected(self) -> bool:
        self._port = socket.socket(socket.AF_UNIX)
        try:
            self._port.connect(str(self.directory / "agent"))
        except OSError:
            self._port.close()
            return False
        return True

    def reboot(self) -> None:
        self._start_job("systemctl reboot")
        self.wait_booted()

    def wait_booted(self) -> None:
        """Until it is in another boot than when this was last waited for."""
        told = self.share / "boot"
        self._wait(lambda: told.exists() and told.read_text() not in ("", self._boot), BOOT, "it does not boot")
        self._boot = told.read_text()

    # -- what runs inside ----------------------------------------------------------------------------------------------

    def run(self, script: str, *, check: bool = True, timeout: float = 300, show: bool = False) -> Result:
        """Run a bash script as root.  With `check`, an exit code other than 0 is an AssertionError that shows its output."""
        job = self._start_job(script)
        shown = 0

        def ended() -> bool:
            nonlocal shown
            if show:
                with (job / "output").open("rb") as file:
                    file.seek(shown)
                    shown += sys.stdout.buffer.write(file.read())
                    sys.stdout.flush()
            return (job / "code").exists()

        self._wait(ended, timeout, f"not done after {timeout} s: {script}", job / "output")
        out = (job / "output").read_text(errors="replace")
        result = Result(script, int((job / "code").read_text()), out)
        if check and result.code:
            raise AssertionError(str(result))
        return result

    def _start_job(self, script: str) -> Path:
        self._jobs += 1
        job = self.share / "jobs" / str(self._jobs)
        job.mkdir()
        (job / "output").touch()
        (job / "script").write_text(script)
        assert self._port is not None
        self._port.sendall(f"{self._jobs}\n".encode())
        return job

    def _wait(self, condition: Callable[[], bool], timeout: float, what: str, output: Path | None = None) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            gone = self._qemu is None or self._qemu.poll() is not None
            if gone or time.monotonic() > deadline:
                told = output.read_text(errors="replace") if output else ""
                for name in ("console.log", "qemu.log"):
                    if (self.directory / name).exists():
                        told += f"\n--- {name}\n" + (self.directory / name).read_text(errors="replace")[-2000:]
                raise AssertionError(f"{'qemu has ended' if gone else what}\n{told[-8000:]}")
            time.sleep(POLL)

    # -- qemu ----------------------------------------------------------------------------------------------------------

    def _command(self) -> list[str]:
        here = self.directory
        append = (
            f"root=/dev/vda rw console=ttyS0 quiet panic=5 mitigations=off systemd.show_status=false {self._append}"
        )
        return [
            *("qemu-system-x86_64", "-M", "q35,smm=off", *_accelerator()),
            *("-smp", str(self._cpus), "-m", self._memory, "-nodefaults", "-no-user-config", "-display", "none"),
            *("-kernel", str(self._image.kernel), "-initrd", str(self._image.initrd), "-append", append),
            *("-drive", f"if=none,id=root,file={here}/disk,format=qcow2,cache=writeback,discard=unmap"),
            *("-device", "virtio-blk-pci,drive=root", "-device", "virtio-rng-pci"),
            *("-netdev", "user,id=net,restrict=on", "-device", "virtio-net-pci,netdev=net,romfile="),
            *("-virtfs", f"local,path={self.share},mount_tag=share,security_model=none,multidevs=remap"),
            *("-device", "virtio-serial"),
            *("-chardev", f"socket,id=agent,path={here}/agent,server=on,wait=off"),
            *("-device", "virtserialport,chardev=agent,name=hawse.agent"),
            *("-chardev", f"socket,id=console,path={here}/console,server=on,wait=off,logfile={here}/console.log"),
            *("-serial", "chardev:console"),
        ]


def _accelerator() -> list[str]:
    """kvm where it is the processor's own.

    A machine that is itself virtual may have /dev/kvm by other means (kvm_pvm), which Debian's kernels do not run on.
    Emulated, a processor without AVX takes a fifth less time: libc then chooses instructions that cost less to translate.
    """
    own = any(Path("/sys/module", name).exists() for name in ("kvm_intel", "kvm_amd"))
    if own and os.access("/dev/kvm", os.W_OK):
        return ["-accel", "kvm", "-cpu", "host"]
    return ["-accel", "tcg,thread=multi,tb-size=512", "-cpu", "Nehalem"]
