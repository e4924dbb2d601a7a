"""Every error that hawse raises on purpose, in one tree.

    HawseError
    ├── UserError         the request is wrong; nothing was done          400
    │   ├── NotFound      a name or id that nobody has                    404
    │   ├── Forbidden     never allowed, whoever asks                     403
    │   └── Conflict      a name, port or state somebody else holds       409
    ├── NotModified       nothing to do                                   304
    ├── NotImplementedYet an endpoint of Docker's that hawse lacks        501
    ├── StartError        a start failed at a stage and was unwound       500 (or 400 with an exit code)
    ├── KernelError       a system call failed: (op, errno, target)       500
    ├── TeardownError     some steps of an undoing failed: a group        500
    ├── RegistryError     a registry refused, failed or sent what is wrong      500
    │   └── Unauthorized  it wants credentials, or others                 401
    ├── Unavailable       a library, kernel feature or the daemon is missing   503
    ├── Gone              a cursor points before the retained journal     410
    └── Bug               our own invariant broke                         500
        └── IllegalTransition

Raised, never logged here: whoever handles an error decides whether it is worth a line.  `code` is the wire's name of
the class and `status` the HTTP status it becomes (`api/server.py`); no other place maps them.
"""

from __future__ import annotations

import errno as _errno
import os
from collections.abc import Sequence


class HawseError(Exception):
    """Base of the tree; `hint` tells the user what to do about it."""

    code = "error"
    status = 500

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class UserError(HawseError):
    """The request cannot be served as it stands; nothing was changed."""

    code = "invalid"
    status = 400


class NotFound(UserError):
    """No object answers to that name, id or unique id prefix."""

    code = "not_found"
    status = 404


class Conflict(UserError):
    """The name, address, port or state is taken; the message says by whom."""

    code = "conflict"
    status = 409


class Forbidden(UserError):
    """The object exists, but what was asked is never allowed (removing a built-in network)."""

    code = "forbidden"
    status = 403


class NotModified(HawseError):
    """It already is as asked: a running container started, a stopped one stopped (docker answers 304)."""

    code = "not_modified"
    status = 304


class NotImplementedYet(HawseError):
    """A Docker endpoint that hawse does not serve."""

    code = "not_implemented"
    status = 501


class StartError(HawseError):
    """A container could not be started; everything done for it was undone.

    `stage` is one of namespaces, mounts, cgroup, network, gate, exec.  `exit_code` is docker's: 127 the program was not
    found, 126 it could not be executed, 125 everything that is the engine's fault.
    """

    code = "start_failed"

    def __init__(self, message: str, *, stage: str, exit_code: int = 125, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.stage = stage
        self.exit_code = exit_code
        # The docker CLI reads 126/127 out of the text of a 400 (cli/command/container/run.go toStatusError).
        self.status = 400 if exit_code in (126, 127) else 500


class KernelError(HawseError):
    """A system call failed where no user input explains it."""

    code = "kernel"

    def __init__(self, op: str, errno: int, target: str = "") -> None:
        self.op, self.errno, self.target = op, errno, target
        name = _errno.errorcode.get(errno, str(errno))
        super().__init__(f"{op}{f' {target}' if target else ''}: {os.strerror(errno)} ({name})")

    @classmethod
    def of(cls, op: str, error: OSError) -> KernelError:
        """Translate what Python raised, with the path that it names."""
        return cls(op, error.errno or 0, str(error.filename or ""))


class TeardownError(HawseError, ExceptionGroup[Exception]):
    """Steps of a teardown failed, and all the others were done: `exceptions` are the reasons, in order.

    One of ours, so that whoever goes on after a HawseError goes on after several.
    """

    code = "teardown"
    message = ""  # the group has one that cannot be written

    def __new__(cls, what: str, errors: Sequence[Exception]) -> TeardownError:
        return super().__new__(cls, what, errors)

    def __init__(self, what: str, errors: Sequence[Exception]) -> None:
        super().__init__(f"{what}: {'; '.join(map(str, errors))}")


class RegistryError(HawseError):
    """A registry of images refused, failed, or sent what it should not; the hint has its name and its answer's status."""

    code = "registry"


class Unauthorized(RegistryError):
    """The registry wants credentials, or does not know those that it was given."""

    code = "unauthorized"
    status = 401


class Unavailable(HawseError):
    """Something that hawse needs is not there: a library, a kernel feature, root, the daemon."""

    code = "unavailable"
    status = 503


class Gone(HawseError):
    """The cursor is from another journal or older than what is kept; `oldest` is where reading can begin."""

    code = "gone"
    status = 410

    def __init__(self, message: str, *, oldest: str) -> None:
        super().__init__(message, hint=f"oldest cursor: {oldest}")
        self.oldest = oldest


class Bug(HawseError):
    """An invariant of our own broke; please report it with the story."""

    code = "bug"


class IllegalTransition(Bug):
    """A stimulus that the container's state does not allow."""

    def __init__(self, container_id: str, state: str, stimulus: str, story: Sequence[str]) -> None:
        super().__init__(
            f"container {container_id[:12]}: {stimulus} is impossible while {state}; story: {' → '.join(story)}"
        )
        self.container_id, self.state, self.stimulus, self.story = container_id, state, stimulus, tuple(story)
