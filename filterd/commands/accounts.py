"""`filterd console`: who may use the console in a browser."""

import getpass
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from filterd.commands.options import ConfigOption, config_of
from filterd.errors import BadInput, NotFound

if TYPE_CHECKING:
    from filterd.console.accounts import Accounts

app = typer.Typer(help="Accounts of the console in a browser.", no_args_is_help=True)

ADMINISTRATOR = "administrator"
MAX_LINE = 1_002  # characters of a password on stdin, as many as one may have


@app.command("password")
def password(
    name: Annotated[str, typer.Argument(help="Of the account; it is made where there is none.")],
    role: Annotated[str, typer.Option("--role", help="administrator, user or read-only.")] = ADMINISTRATOR,
    address: Annotated[
        list[str] | None, typer.Option("--address", help="Whose mail a user sees; repeatable.")
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Set a password: asked for on a terminal, else the first line of stdin. In effect at once."""
    from filterd.console.accounts import Role

    if role not in list(Role):
        raise BadInput(f"--role is {', '.join(Role)}, not {role!r}")
    if role == Role.USER and not address:
        raise BadInput("--role user needs --address: whose mail may be seen")
    _accounts(config).put(name, Role(role), _ask(), tuple(address or ()))
    print(f"{name}: {role}; sign in at /console/ of http.listen")


@app.command("list")
def list_(config: ConfigOption = None) -> None:
    """List the accounts."""
    for one in _accounts(config).all().values():
        print(f"{one.name:20} {one.role:14} {' '.join(one.addresses) or '-'}")


@app.command("remove")
def remove(name: Annotated[str, typer.Argument(help="Of the account.")], config: ConfigOption = None) -> None:
    """Take an account away; its sessions end at once."""
    if not _accounts(config).remove(name):
        raise NotFound(f"{name}: no such account; see `filterd console list`")


def _accounts(config: ConfigOption) -> "Accounts":
    from pathlib import Path

    from filterd.console.accounts import Accounts

    return Accounts(Path(config_of(config).state))


def _ask() -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline(MAX_LINE).rstrip("\r\n")
    first = getpass.getpass("Password: ")
    if getpass.getpass("Again: ") != first:
        raise BadInput("the two are not the same")
    return first
