"""`filterd`: what people type. Commands only read their options; the work is in the modules they call.

Heavy imports (numpy, onnxruntime) stay inside the commands that need them, so that `filterd --help` starts
in a fraction of the time. What a mail's delivery runs does not even come here: see `entry.py`.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from filterd import version
from filterd.api import Kind, Label
from filterd.commands import accounts, bundles, feedback, lists, quarantine
from filterd.commands.options import (
    BundleOption,
    ConfigOption,
    MailOption,
    SmsOption,
    ThreadsOption,
    UserOption,
    config_of,
    configured,
)
from filterd.commands.pipe import CommandExit
from filterd.errors import FilterdError

if TYPE_CHECKING:
    from filterd.commands.client import Daemon
    from filterd.commands.input import Judge
    from filterd.history.record import Record

app = typer.Typer(
    help="A spam filter for mail and SMS that judges with a fine-tuned GPT-2 on this machine.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

configuration = typer.Typer(help="The daemon's configuration.", no_args_is_help=True)
app.add_typer(feedback.app, name="feedback")
app.add_typer(configuration, name="config")
app.add_typer(bundles.app, name="bundle")
app.add_typer(accounts.app, name="console")
app.add_typer(lists.app, name="list")
app.add_typer(lists.thresholds, name="threshold")
app.add_typer(quarantine.app, name="quarantine")


@app.callback()
def options(version: Annotated[bool, version.option("filterd")] = False) -> None:
    """A spam filter for mail and SMS that judges with a fine-tuned GPT-2 on this machine."""


@app.command()
def check(
    files: Annotated[list[str] | None, typer.Argument(help="Messages; stdin without any.")] = None,
    mail: MailOption = False,
    sms: SmsOption = False,
    lines: Annotated[bool, typer.Option("--lines", help="Each line is a message of its own.")] = False,
    json_lines: Annotated[
        bool, typer.Option("--json-lines", help="Each line is a JSON object, and is answered by one at once.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a message.")] = False,
    tag: Annotated[bool, typer.Option("--tag", help="Copy the mail on stdin to stdout, tagged.")] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="With --tag: exit 75 where judging fails.")
    ] = False,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="Exit as spamc -c does: 1 spam, 0 not.")
    ] = False,
    bogofilter: Annotated[
        bool, typer.Option("--bogofilter", help="Exit as bogofilter does: 0 spam, 1 ham, 2 unsure, 3 error.")
    ] = False,
    bundle: BundleOption = None,
    threads: ThreadsOption = None,
    config: ConfigOption = None,
) -> None:
    """Judge messages: `spam  0.993  mail  Subject`.

    Exit status: 0 judged; 65 empty or binary input; 66 no such file; 69 no model; 75 see --strict;
    78 options that exclude each other.
    """
    from filterd.commands import check as checking

    options = checking.CheckOptions(
        mail=mail,
        sms=sms,
        lines=lines,
        json_lines=json_lines,
        json=as_json,
        tag=tag,
        strict=strict,
        exit_code=exit_code,
        bogofilter=bogofilter,
    )
    daemon = _daemon(bundle, threads)
    if daemon:
        raise CommandExit(checking.command(files or [], options, lambda: daemon.check, lambda: daemon.style))
    from filterd.commands import local

    raise CommandExit(local.check(files or [], options, config=config, bundle=bundle, threads=threads))


@app.command()
def explain(
    file: Annotated[str, typer.Argument(help="A message; stdin without one.")] = "-",
    mail: MailOption = False,
    sms: SmsOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    bundle: BundleOption = None,
    threads: ThreadsOption = None,
    config: ConfigOption = None,
) -> None:
    """Show which words moved a message's score, and by how many points (occlusion)."""
    from filterd.commands import explain as explaining
    from filterd.commands import local
    from filterd.commands.input import asked_kind, items
    from filterd.reasons.occlusion import explain as occlude

    item = next(items([file], asked_kind(mail=mail, sms=sms), lines=False))
    if item.message is None:
        raise item.error or FilterdError(file)
    engine = local.open_judge(local.config_for(config), bundle, threads)
    explanation = occlude(engine, item.message)
    thresholds = engine.bundle.manifest.thresholds[explanation.verdict.kind]
    if as_json:
        print(explaining.as_json(explanation, thresholds))
    else:
        explaining.show(explanation, thresholds)


@app.command()
def serve(config: ConfigOption = None) -> None:
    """Run the daemon: judge for every configured listener until SIGTERM; SIGHUP reloads."""
    from filterd import log
    from filterd.daemon import server

    path, loaded = configured(config)
    log.start(loaded.log.format, loaded.log.level)
    server.serve(loaded, path)


@app.command()
def learn(
    files: Annotated[list[str] | None, typer.Argument(help="Messages; stdin without any.")] = None,
    spam: Annotated[bool, typer.Option("--spam", help="They are spam.")] = False,
    ham: Annotated[bool, typer.Option("--ham", help="They are not.")] = False,
    mailboxes: Annotated[
        list[Path] | None, typer.Option("--maildir", help="A whole Maildir folder or mbox; repeatable.")
    ] = None,
    mail: MailOption = False,
    sms: SmsOption = False,
    lines: Annotated[bool, typer.Option("--lines", help="Each line is an SMS.")] = False,
    user: UserOption = "",
    config: ConfigOption = None,
) -> None:
    """Correct the filter: these messages are spam, or ham. Takes effect at once, and is kept.

    Exit status: 0 learned or known already; 65, 66 bad input; 69 learning is closed; 74 not kept.
    """
    from filterd.commands import learn as correcting

    options = correcting.LearnOptions(spam=spam, ham=ham, mail=mail, sms=sms, lines=lines, user=user)
    raise CommandExit(correcting.learn(files or [], options, lambda: config_of(config), mailboxes or ()))


@app.command()
def sweep(
    mailbox: Annotated[Path, typer.Argument(metavar="MAILDIR", help="A Maildir, or an mbox to judge only.")],
    folder: Annotated[list[str] | None, typer.Option("--folder", help="Only this one; repeatable.")] = None,
    move_to: Annotated[str, typer.Option("--move-to", help="File spam in this folder, such as Junk.")] = "",
    tag: Annotated[bool, typer.Option("--tag", help="Write X-Spam-* headers into what is spam.")] = False,
    unsure: Annotated[bool, typer.Option("--unsure", help="Treat unsure as spam.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Touch no mail, say what would be.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Judge anew what was judged before.")] = False,
    sent: Annotated[
        bool, typer.Option("--sent", help="It is a folder of sent mail: learn correspondents, judge nothing.")
    ] = False,
    state: Annotated[
        Path | None, typer.Option("--state", help="Where to remember; without it ~/.local/state/filterd.")
    ] = None,
    bundle: BundleOption = None,
    threads: ThreadsOption = None,
    config: ConfigOption = None,
) -> None:
    """Judge the mails of a mailbox, and file or tag the spam; goes on where it was interrupted.

    Exit status: 0 done; 65, 66 no such mailbox, or some mails failed; 69 no model; 75 busy; 78 wrong options.
    """
    from filterd.commands import client, local
    from filterd.commands import sweep as sweeping

    if sent:
        from filterd.commands import correspondents
        from filterd.commands.input import exclude

        others = {
            "--folder": bool(folder),
            "--move-to": bool(move_to),
            "--tag": tag,
            "--unsure": unsure,
            "--dry-run": dry_run,
            "--again": again,
            "--state": state is not None,
            "--bundle": bundle is not None,
            "--threads": threads is not None,
        }
        for name, given in others.items():
            exclude({"--sent": True, name: given})
        raise CommandExit(correspondents.learn(mailbox, config_of(config)))
    settings = local.config_for(config)
    path = client.socket_path() if not bundle and not threads else None

    def judge() -> "Judge":
        if path:
            return client.Daemon(path).check
        return local.open_judge(settings, bundle, threads).judge

    style = local.style_of(settings)
    plan = sweeping.SweepPlan(
        only=tuple(folder or ()), move_to=move_to, tag=tag, dry_run=dry_run, unsure=unsure, style=style
    )
    raise CommandExit(sweeping.sweep(mailbox, plan, judge, state, again=again))


@app.command()
def forget(
    files: Annotated[list[str] | None, typer.Argument(help="Messages; stdin without any.")] = None,
    mail: MailOption = False,
    sms: SmsOption = False,
    user: UserOption = "",
    config: ConfigOption = None,
) -> None:
    """Take corrections of these messages back, as if they had never been given."""
    from filterd.commands import learn as correcting

    options = correcting.LearnOptions(mail=mail, sms=sms, user=user)
    raise CommandExit(correcting.forget(files or [], options, lambda: config_of(config)))


@configuration.command("check")
def config_check(config: ConfigOption = None) -> None:
    """Read the configuration and say whether it is right; exit status 78 where it is not."""
    from filterd.daemon import plugins

    path, loaded = configured(config)
    plugins.check(loaded, str(path or "built-in defaults"))
    print(f"{path or 'built-in defaults'}: ok")


@app.command()
def status(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    once: Annotated[bool, typer.Option("--once", help="Print the table once.")] = False,
) -> None:
    """Show what a running daemon is doing; on a terminal every second anew until Ctrl-C."""
    import json

    from filterd.commands import client, status
    from filterd.errors import ModelUnavailable

    path = client.socket_path()
    if not path:
        raise ModelUnavailable(f"{client.SOCKET}: no daemon listens here; is filterd serve running?")
    if as_json:
        print(json.dumps(client.Daemon(path).status()))
    elif once or not sys.stdout.isatty():
        status.show(client.Daemon(path).status())
    else:
        status.watch(client.Daemon(path).status)


@app.command()
def history(
    since: Annotated[str, typer.Option("--since", help="From then on: 6h, 2d, 1w, or a date.")] = "",
    until: Annotated[str, typer.Option("--until", help="Until then.")] = "",
    label: Annotated[Label | None, typer.Option("--label", help="Only these.")] = None,
    kind: Annotated[Kind | None, typer.Option("--kind", help="Only these.")] = None,
    to: Annotated[str, typer.Option("--to", help="A recipient's whole address.")] = "",
    sender: Annotated[str, typer.Option("--from", help="The envelope sender's whole address.")] = "",
    text: Annotated[str, typer.Option("--text", help="In ids, and in what is kept of subject, people.")] = "",
    limit: Annotated[int, typer.Option("--limit", min=1, max=100_000, help="How many of the newest.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a message.")] = False,
    config: ConfigOption = None,
) -> None:
    """List what the daemon has judged, newest first, from its history."""
    from filterd.commands import history as looking

    asked = looking.HistoryQuery(
        since=since, until=until, label=label, kind=kind, to=to, sender=sender, text=text
    )
    looking.history(config_of(config), asked, limit=limit, as_json=as_json)


@app.command()
def why(
    name: Annotated[str, typer.Argument(metavar="ID", help="Of the history, a queue id, Message-ID, file.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    config: ConfigOption = None,
) -> None:
    """Say why a message that was judged got its label."""
    from filterd.commands import explain as explaining
    from filterd.commands import history as looking

    settings = config_of(config)

    def words(row: "Record", text: str) -> None:
        from filterd.judge import open_engine
        from filterd.reasons.occlusion import occlude

        linear = row.settled == "fastpath"
        explaining.show_words(occlude(open_engine(settings), text, row.kind, linear=linear))

    looking.why(settings, name, words, as_json=as_json)


@app.command("version")
def print_version() -> None:
    """Print the version of filterd."""
    version.show("filterd")


def _daemon(bundle: Path | None, threads: int | None) -> "Daemon | None":
    """A running daemon, where nothing is asked for that only we can do."""
    from filterd.commands import client

    path = client.socket_path() if not bundle and not threads else None
    return client.Daemon(path) if path else None
