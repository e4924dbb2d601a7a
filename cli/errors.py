"""What goes wrong at the command line: one exception for each way to end, with the exit code it means.

Exit codes are Docker's: 1 for an error, 125 when `run`, `create` or any flag is wrong or the engine fails, 126 and 127 for a
program that cannot be executed or found, else the program's own.
"""

from __future__ import annotations


class Failure(Exception):
    """Ends the command: `message` goes to standard error, `code` to the shell.  An empty message prints nothing."""

    def __init__(self, message: str = "", code: int = 1) -> None:
        super().__init__(message)
        self.message = message
        self.code = code


class ApiError(Failure):
    """The daemon answered with an error status."""

    def __init__(self, status: int, message: str, code: int = 1) -> None:
        super().__init__(f"Error response from daemon: {message}", code)
        self.status = status
        self.reason = message


class NoDaemon(Failure):
    """Nothing answers on the socket (or we may not talk to it)."""


class Disconnected(Failure):
    """The daemon went away in the middle of an answer."""


class Interrupted(Exception):
    """A signal asks this process to end; whoever holds the terminal gives it back on the way up."""

    def __init__(self, signal: int) -> None:
        super().__init__(signal)
        self.signal = signal
