"""Run by test_install.py where /etc and /usr/local are throwaway views: installs, killed ones too, and what they leave."""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import signal
import sys
import time
from pathlib import Path

from hawse.cli.main import run

TREES = (Path("/usr/local"), Path("/etc"))
STEPS = ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "subprocess.Popen")
"""Audit events of what changes something: it is killed before each."""
STRIDE = 3
"""1 tries every step, in a minute."""
BEGAN = time.time()


def main(what: str) -> int:
    {"completes": completes, "refuses": refuses, "keeps": keeps}[what]()
    return 0


def hawse(*argv: str) -> tuple[int, str]:
    """(exit code, both streams)."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        code = run(["system", "install", *argv])
    sys.stdout.write(f"{argv} → {code}\n{out.getvalue()}\n")
    sys.stdout.flush()
    return code, out.getvalue()


def tree() -> dict[str, bytes | str]:
    """Everything that is in place, but for what groupadd keeps beside its files."""
    found: dict[str, bytes | str] = {}
    for root in TREES:
        for directory, _, names in os.walk(root):
            found[directory] = "directory"
            for name in names:
                path = Path(directory, name)
                if path.is_symlink():
                    found[str(path)] = os.readlink(path)
                elif path.name not in ("group", "group-", "gshadow", "gshadow-"):
                    status = path.stat()  # what was there before may be large
                    found[str(path)] = path.read_bytes() if status.st_mtime > BEGAN else str(status.st_size)
    found["group"] = str(sorted(line.partition(":")[0] for line in Path("/etc/group").read_text().splitlines()))
    return found


def expect(wanted: dict[str, bytes | str], when: str) -> None:
    found = tree()
    assert found == wanted, f"{when}: {sorted(set(found.items()) ^ set(wanted.items()), key=str)}"


def completes() -> None:
    """Killed before any of its steps, another install does the rest, and an uninstall leaves no trace; killed itself, too."""
    before = tree()
    assert hawse()[0] == 0
    installed = tree()
    assert len(installed) > len(before) + 10
    assert hawse() == (0, "everything was in place\n")
    assert hawse("--uninstall")[0] == 0
    assert tree() == before
    for verb, after in ((), installed), (("--uninstall",), before):
        for step in itertools.count(0, STRIDE):
            if verb:
                assert hawse()[0] == 0
            ended = killed_at(step, verb)
            assert hawse(*verb)[0] == 0, f"killed at step {step}"
            expect(after, f"killed at step {step}")
            assert hawse("--uninstall")[0] == 0
            expect(before, f"killed at step {step}")
            if ended:
                break
        assert step > 10


def killed_at(step: int, verb: tuple[str, ...]) -> bool:
    """Whether it came to its end instead."""
    child = os.fork()
    if child == 0:
        count = itertools.count()

        def hook(event: str, _: tuple[object, ...]) -> None:
            if event in STEPS and next(count) == step:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        os._exit(hawse(*verb)[0])
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, -signal.SIGKILL)
    return status == 0


def refuses() -> None:
    """All that is in the way is named at once, and nothing is changed."""
    Path("/usr/local/bin/hawse").write_text("somebody's\n")
    Path("/usr/local/share/man").mkdir(exist_ok=True)
    Path("/etc/systemd/system/hawse.service").symlink_to("/dev/null")
    Path("/etc/hawse").mkdir(exist_ok=True)
    Path("/etc/hawse/hawse.toml").write_text("group = \n")
    os.system("useradd --user-group hawse")
    before = tree()
    code, told = hawse("--now")
    assert code == 1
    for part in (
        "nothing was changed",
        "/usr/local/bin/hawse is there already",
        "hawse.service is masked",
        "/etc/hawse/hawse.toml: no daemon can read it",
        "the group hawse is the own group of hawse",
        "--now needs a running systemd",
    ):
        assert part in told, part
    assert tree() == before
    code, told = hawse("--uninstall")
    assert code == 0 and "nothing to take away" in told
    assert tree() == before


def keeps() -> None:
    """The administrator's configuration, members of the group, files in our directories, and a link made by hand."""
    config = Path("/etc/hawse/hawse.toml")
    config.parent.mkdir(exist_ok=True)
    config.write_text('log_level = "debug"\n')
    code, told = hawse()
    assert code == 0
    assert f"kept {config}, which you changed" in told
    assert 'does not have group = "hawse"' in told
    hook = Path("/etc/hawse/hooks.d/10-mine.toml")
    hook.touch()
    os.system("usermod --append --groups hawse nobody")
    link = Path("/usr/local/bin/hawse")
    link.unlink()
    link.symlink_to("/mine")
    code, told = hawse("--uninstall")
    assert code == 0
    assert "kept the group hawse, which has members: nobody" in told
    assert os.readlink(link) == "/mine"
    assert config.read_text() == 'log_level = "debug"\n'
    assert hook.exists()
    assert not Path("/usr/local/share/hawse").exists()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
