"""`filterd list` and `filterd threshold`: what people set, in the database of the corrections."""

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from filterd.api import Kind
from filterd.commands.options import ConfigOption, config_of
from filterd.errors import BadInput, NotFound

if TYPE_CHECKING:
    from filterd.policy.store import PolicyStore

app = typer.Typer(help="Whom to let through, and whom to stop.", no_args_is_help=True)
thresholds = typer.Typer(help="From which P(spam) mail is called unsure and spam.", no_args_is_help=True)

DAY_S = 86_400.0

ValueArgument = Annotated[
    str, typer.Argument(help="ann@example.org, example.org, list-id:NAME, or to deny link-host:NAME.")
]
ForOption = Annotated[str, typer.Option("--for", help="Only for this recipient or domain.")]
DaysOption = Annotated[float | None, typer.Option("--days", min=0.01, help="For so long; without it always.")]
NoteOption = Annotated[str, typer.Option("--note", help="Why, for whoever reads the list.")]
ScopeArgument = Annotated[str, typer.Argument(help="A recipient or domain; without it the site.")]


@app.command("deny", help="Call everything from a sender spam.")
@app.command("allow", help="Let a sender through where a server of trust.authserv_ids proves that it is he.")
def put(
    command: typer.Context,
    value: ValueArgument,
    for_: ForOption = "",
    days: DaysOption = None,
    note: NoteOption = "",
    config: ConfigOption = None,
) -> None:
    """Add an entry of the list that the command is called by."""
    from filterd.policy.entry import MAX_NOTE, EntryAction, made

    action = EntryAction(command.info_name or "")
    expires = time.time() + days * DAY_S if days else None
    with _rules(config) as rules:
        rules.put(made(action, value, scope=for_, note=note[:MAX_NOTE], expires=expires, by="command"))
    if action is EntryAction.ALLOW and not config_of(config).trust.authserv_ids:
        print("trust.authserv_ids names no server yet, so it will not count; see docs/lists.md")


@app.command("show")
def show(config: ConfigOption = None) -> None:
    """Show all entries, the newest first."""
    with _rules(config) as rules:
        for one in rules.entries():
            until = f"{datetime.fromtimestamp(one.expires, UTC):%Y-%m-%d}" if one.expires else "-"
            print(f"{one.number:6} {one.do:5} {one.what:9} {one.value:40} {one.scope or 'all':24} {until:10}"
                  f" {one.note}")  # fmt: skip


@app.command("remove")
def remove(
    number: Annotated[int, typer.Argument(help="Of the entry, as `show` has it.")],
    config: ConfigOption = None,
) -> None:
    """Take an entry away."""
    with _rules(config) as rules:
        if not rules.remove(number):
            raise NotFound(f"{number}: no such entry; see `filterd list show`")


@thresholds.command("show")
def show_thresholds(config: ConfigOption = None) -> None:
    """Show what is set here and in the configuration; where nothing is, the bundle's hold."""
    for one in config_of(config).thresholds:
        for kind in one.kinds:
            who = " ".join(one.recipients) or "all"
            print(f"{who:32} {kind:4} unsure {one.unsure:.4f} spam {one.spam:.4f}  (configuration)")
    with _rules(config) as rules:
        for rule in rules.thresholds():
            both = f"unsure {rule.thresholds.unsure:.4f} spam {rule.thresholds.spam:.4f}"
            print(f"{rule.scope or 'all':32} {rule.kind:4} {both}")


@thresholds.command("set")
def set_thresholds(
    unsure: Annotated[float, typer.Option("--unsure", help="P(spam) from which mail is unsure.")],
    spam: Annotated[float, typer.Option("--spam", help="P(spam) from which it is spam.")],
    scope: ScopeArgument = "",
    kind: Annotated[Kind, typer.Option("--kind", help="mail or sms.")] = Kind.MAIL,
    config: ConfigOption = None,
) -> None:
    """Set thresholds; the daemon has them within two seconds."""
    from filterd.policy.store import ThresholdRule
    from filterd.scoring.verdict import Thresholds

    try:
        both = Thresholds(unsure, spam)
    except ValueError as error:
        raise BadInput(str(error)) from error
    with _rules(config) as rules:
        rules.set_thresholds(ThresholdRule(scope.lower().lstrip("@"), kind, both))


@thresholds.command("reset")
def reset_thresholds(
    scope: ScopeArgument = "",
    kind: Annotated[Kind, typer.Option("--kind", help="mail or sms.")] = Kind.MAIL,
    config: ConfigOption = None,
) -> None:
    """Go back to the configuration's, or the bundle's."""
    with _rules(config) as rules:
        if not rules.reset_thresholds(scope.lower().lstrip("@"), kind):
            raise NotFound(f"{scope or 'all'}: nothing is set for {kind}; see `filterd threshold show`")


def _rules(config: ConfigOption) -> "PolicyStore":
    from filterd.policy.store import PolicyStore

    return PolicyStore.open(config_of(config).feedback_url)
