"""`hawse login` and `hawse logout`."""

from __future__ import annotations

import getpass
import sys

from hawse.cli.context import Context
from hawse.cli.errors import Failure
from hawse.cli.flags.flags import Command, Flag, Options
from hawse.cli.wire import dockerconfig


def _login(context: Context, options: Options, names: list[str]) -> int:
    registry = dockerconfig.key(names[0] if names else "")
    auth = {"username": _username(options), "password": _password(options), "serveraddress": registry}
    answer = context.client.post("/auth", auth)
    if token := answer.get("IdentityToken"):
        auth["identitytoken"] = token
    if warning := dockerconfig.keep(registry, auth):
        print(f"WARNING! {warning}", file=sys.stderr)
    print(answer["Status"])
    return 0


def _username(options: Options) -> str:
    if options.username:
        return str(options.username)
    if not sys.stdin.isatty():
        raise Failure("Cannot perform an interactive login from a non TTY device; use --username and --password-stdin")
    return input("Username: ")


def _password(options: Options) -> str:
    if options.password_stdin:
        if options.password:
            raise Failure("--password and --password-stdin are mutually exclusive")
        if not options.username:
            raise Failure("Must provide --username with --password-stdin")
        return sys.stdin.read().rstrip("\r\n")
    if options.password:
        print("WARNING! Using --password via the CLI is insecure. Use --password-stdin.", file=sys.stderr)
        return str(options.password)
    if not sys.stdin.isatty():
        raise Failure("Cannot perform an interactive login from a non TTY device; use --username and --password-stdin")
    return getpass.getpass("Password: ")


def _logout(context: Context, options: Options, names: list[str]) -> int:
    registry = dockerconfig.key(names[0] if names else "")
    if dockerconfig.forget(registry):
        print(f"Removing login credentials for {registry}")
    else:
        print(f"Not logged in to {registry}")
    return 0


LOGIN = Command(
    _login,
    "[SERVER]",
    most=1,
    flags=(
        Flag("username", "u", help="Name at the registry"),
        Flag("password", "p", help="Password; others see it in the list of processes"),
        Flag("password-stdin", kind="bool", help="Read the password from standard input"),
    ),
    note="Kept in docker's config.json ($DOCKER_CONFIG or ~/.docker), or by the credential helper that it names.",
)
LOGOUT = Command(_logout, "[SERVER]", most=1)
