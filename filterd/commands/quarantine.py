"""`filterd quarantine`: what is held, and what becomes of it."""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from filterd.api import Label
from filterd.commands.options import ConfigOption, config_of
from filterd.commands.pipe import CommandExit
from filterd.errors import FilterdError, NotFound

if TYPE_CHECKING:
    from filterd.commands.input import Item
    from filterd.quarantine.index import QuarantineEntry
    from filterd.quarantine.store import QuarantineStore

app = typer.Typer(help="Mail that is held instead of being delivered.", no_args_is_help=True)

IdsArgument = Annotated[list[str], typer.Argument(metavar="ID", help="As `list` has it.")]
IdArgument = Annotated[str, typer.Argument(metavar="ID", help="As `list` has it.")]
OnlyOption = Annotated[str, typer.Option("--to", help="Only for this recipient.")]

BY = "command"


@app.command("list")
def show_all(
    to: Annotated[str, typer.Option("--to", help="A recipient's whole address.")] = "",
    sender: Annotated[str, typer.Option("--from", help="The envelope sender's whole address.")] = "",
    text: Annotated[str, typer.Option("--text", help="In subject, sender or queue id.")] = "",
    gone: Annotated[bool, typer.Option("--all", help="Also what was released or deleted.")] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, max=100_000, help="How many of the newest.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a message.")] = False,
    config: ConfigOption = None,
) -> None:
    """List what is held, newest first."""
    from filterd.quarantine.index import QuarantineQuery, QuarantineState

    wanted = QuarantineQuery(state=None if gone else QuarantineState.HELD, to=to, sender=sender, text=text)
    with _open(config) as quarantine:
        for entry in quarantine.search(wanted, limit):
            print(json.dumps(_json(entry), ensure_ascii=False) if as_json else _line(entry))


@app.command("show")
def show(
    name: IdArgument,
    raw: Annotated[bool, typer.Option("--raw", help="The message itself, as it came.")] = False,
    config: ConfigOption = None,
) -> None:
    """Show what is known of a held message, or with --raw the message."""
    with _open(config) as quarantine:
        entry = quarantine.find(name)
        if raw:
            sys.stdout.buffer.write(quarantine.files.read(entry.number)[1])
            return
    print(_line(entry))
    print(f"{entry.size:,} bytes by {entry.listener or 'other'}, {entry.name or '-'}, on {entry.host}")
    for one in entry.recipients:
        when = f" {datetime.fromtimestamp(one.at, UTC):%Y-%m-%d %H:%M}" if one.at else ""
        print(f"- {one.address}: {one.state}{when}{f' by {one.by}' if one.by else ''}")


@app.command("release")
def release(
    names: IdsArgument,
    to: OnlyOption = "",
    not_spam: Annotated[bool, typer.Option("--not-spam", help="And correct the filter: no spam.")] = False,
    config: ConfigOption = None,
) -> None:
    """Send held messages to their recipients, through the next hop, exactly as they came."""
    from filterd.commands.input import Item

    sent: list[Item] = []
    try:
        with _open(config) as quarantine:
            for name in names:
                number = quarantine.find(name).number
                message = quarantine.message(number, to) if not_spam else None  # gone once it is released
                for address in quarantine.release(number, quarantine.keys(to), BY):
                    print(f"{name}: sent to {address}")
                sent.append(Item(name, message))
    finally:  # whatever stopped the rest
        status = _correct(sent, config) if not_spam and sent else 0
    if status:
        raise CommandExit(status)


def _correct(sent: "list[Item]", config: ConfigOption) -> int:
    """Learn what people have got by now as ham, and name what could not be; the exit status."""
    from filterd.commands import pipe
    from filterd.commands.learn import correct

    learned: list[str] = []
    asked = ((item, Label.HAM) for item in sent)
    try:
        status = correct(asked, lambda: config_of(config), [Label.HAM], learned=learned)
    except FilterdError as error:
        pipe.complain(str(error))
        status = error.exit_status
    if missed := [item.name for item in sent if item.name not in learned]:
        pipe.complain(f"sent, but not learned as ham: {', '.join(missed)}")
    return status


@app.command("delete")
def delete(names: IdsArgument, to: OnlyOption = "", config: ConfigOption = None) -> None:
    """Delete held messages; nobody gets them any more."""
    with _open(config) as quarantine:
        for name in names:
            quarantine.delete(quarantine.find(name).number, quarantine.keys(to), BY)
            print(f"{name}: deleted")


@app.command("digest")
def digest(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the mails, send none.")] = False,
    config: ConfigOption = None,
) -> None:
    """Mail each recipient a list of what is held for him and was not listed yet; for a daily timer.

    Exit status: 0 all sent, or nothing to send; 75 some were not, and come again; 78 no quarantine.sender.
    """
    from filterd.commands.pipe import complain
    from filterd.quarantine import digest as mails

    settings = config_of(config)
    sent, failed = 0, None
    with _open(config) as quarantine:
        for one in mails.digests(settings, quarantine):
            if dry_run:
                print(one.mail.as_string())
                continue
            try:
                mails.send(settings, quarantine, one)
                sent += 1
            except FilterdError as error:
                failed = error
                complain(f"{one.address}: {error}")
    if not dry_run:
        print(f"sent: {sent}")
    if failed:
        raise failed


def _open(config: ConfigOption) -> "QuarantineStore":
    from filterd.quarantine.signing import KEY_FILE
    from filterd.quarantine.store import QuarantineStore

    settings = config_of(config)
    key = Path(settings.state) / KEY_FILE
    if not key.exists():
        raise NotFound(f"{key}: nothing was ever held here; `filterd serve` keeps what `do: quarantine` says")
    return QuarantineStore.open(settings)


def _line(entry: "QuarantineEntry") -> str:
    time = datetime.fromtimestamp(entry.time, UTC).isoformat(sep=" ", timespec="seconds")[:19]
    people = ", ".join(one.address for one in entry.recipients[:3])
    more = f" and {len(entry.recipients) - 3} more" if len(entry.recipients) > 3 else ""
    said = f"{entry.id} {time} {entry.label:6} {entry.points:+6.1f} {entry.sender or '-'} > {people}{more}"
    return f"{said}  {entry.subject or '-'}"


def _json(entry: "QuarantineEntry") -> dict[str, object]:
    said: dict[str, object] = {"id": entry.id} | msgspec.to_builtins(entry)
    del said["number"]
    people = [one._asdict() for one in entry.recipients]
    said["recipients"] = [{name: value for name, value in one.items() if name != "key"} for one in people]
    return said
