"""`filterd`: what people type. Commands only read their options; the work is in the modules they call.

Heavy imports (numpy, onnxruntime) stay inside the commands that need them, so that `filterd --help` starts
in a fraction of the time. What a mail's delivery runs does not even come here: see `entry.py`.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from filterd import __version__
from filterd.api import Kind, Label
from filterd.commands.entry import main
from filterd.errors import FilterdError

if TYPE_CHECKING:
    from filterd.commands.check import Judge
    from filterd.commands.client import Daemon
    from filterd.config import Config
    from filterd.headers import HeaderStyle
    from filterd.history.record import Record

__all__ = ["app", "main"]

app = typer.Typer(
    help="A spam filter for mail and SMS that judges with a fine-tuned GPT-2 on this machine.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

feedback = typer.Typer(help="The corrections store.", no_args_is_help=True)
configuration = typer.Typer(help="The daemon's configuration.", no_args_is_help=True)
bundles = typer.Typer(help="Installed model bundles.", no_args_is_help=True)
app.add_typer(feedback, name="feedback")
app.add_typer(configuration, name="config")
app.add_typer(bundles, name="bundle")

BundleOption = Annotated[
    Path | None,
    typer.Option("--bundle", envvar="FILTERD_BUNDLE", help="Model bundle; without it the one that ships."),
]
ThreadsOption = Annotated[
    int | None, typer.Option("--threads", min=1, max=256, help="Threads of the model; one a core without it.")
]
MailOption = Annotated[bool, typer.Option("--mail", help="The input is mail, whatever it looks like.")]
SmsOption = Annotated[bool, typer.Option("--sms", "--text", help="The input is the text of an SMS.")]


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
) -> None:
    """Judge messages: `spam  0.993  mail  Subject`.

    Exit status: 0 judged; 65 empty or binary input; 66 no such file; 69 no model; 75 see --strict;
    78 options that exclude each other.
    """
    from filterd.commands import check as checking

    options = checking.Options(*(mail, sms, lines, json_lines, as_json, tag, strict, exit_code, bogofilter))
    daemon = _daemon(bundle, threads)
    if daemon:
        status = checking.command(files or [], options, lambda: daemon.check, lambda: daemon.style)
    else:
        status = checking.command(files or [], options, lambda: _judge(bundle, threads), _style)
    raise typer.Exit(status)


@app.command()
def explain(
    file: Annotated[str, typer.Argument(help="A message; stdin without one.")] = "-",
    mail: MailOption = False,
    sms: SmsOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    bundle: BundleOption = None,
    threads: ThreadsOption = None,
) -> None:
    """Show which words moved a message's score, and by how many points (occlusion)."""
    from filterd.commands import explain as explaining
    from filterd.commands.check import asked_kind, items
    from filterd.reasons.occlusion import explain as occlude
    from filterd.scoring.engine import Engine

    item = next(items([file], asked_kind(mail=mail, sms=sms), lines=False))
    if item.message is None:
        raise item.error or FilterdError(file)
    engine = Engine.open(*_where(bundle), threads=threads, fast_path=True)
    explanation = occlude(engine, item.message)
    thresholds = engine.bundle.manifest.thresholds[explanation.verdict.kind]
    if as_json:
        print(explaining.as_json(explanation, thresholds))
    else:
        explaining.show(explanation, thresholds)


ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", envvar="FILTERD_CONFIG", help="filterd.yaml; without it the system's, or none."),
]


@app.command()
def serve(config: ConfigOption = None) -> None:
    """Run the daemon: judge for every configured listener until SIGTERM; SIGHUP reloads."""
    from filterd import log
    from filterd.daemon import server

    path, loaded = _configured(config)
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
    config: ConfigOption = None,
) -> None:
    """Correct the filter: these messages are spam, or ham. Takes effect at once, and is kept.

    Exit status: 0 learned or known already; 65, 66 bad input; 69 learning is closed; 74 not kept.
    """
    from filterd.commands import learn as correcting

    options = correcting.Options(spam, ham, mail, sms)
    raise typer.Exit(correcting.learn(files or [], options, lambda: _configured(config)[1], mailboxes or ()))


@app.command()
def sweep(
    mailbox: Annotated[Path, typer.Argument(metavar="MAILDIR", help="A Maildir, or an mbox to judge only.")],
    folder: Annotated[list[str] | None, typer.Option("--folder", help="Only this one; repeatable.")] = None,
    move_to: Annotated[str, typer.Option("--move-to", help="File spam in this folder, such as Junk.")] = "",
    tag: Annotated[bool, typer.Option("--tag", help="Write X-Spam-* headers into what is spam.")] = False,
    unsure: Annotated[bool, typer.Option("--unsure", help="Treat unsure as spam.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Touch no mail, say what would be.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Judge anew what was judged before.")] = False,
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
    from filterd.commands import client
    from filterd.commands import sweep as sweeping
    from filterd.headers import HeaderStyle

    headers = _configured(config)[1].headers
    path = client.socket_path() if not bundle and not threads else None

    def judge() -> "Judge":
        return sweeping.spread(client.Daemon(path).check) if path else _judge(bundle, threads)

    style = HeaderStyle(headers.prefix, headers.keep_forged)
    plan = sweeping.Plan(tuple(folder or ()), move_to, tag, dry_run, unsure, style)
    raise typer.Exit(sweeping.sweep(mailbox, plan, judge, state, again=again))


@app.command()
def forget(
    files: Annotated[list[str] | None, typer.Argument(help="Messages; stdin without any.")] = None,
    mail: MailOption = False,
    sms: SmsOption = False,
    config: ConfigOption = None,
) -> None:
    """Take corrections of these messages back, as if they had never been given."""
    from filterd.commands import learn as correcting

    options = correcting.Options(mail=mail, sms=sms)
    raise typer.Exit(correcting.forget(files or [], options, lambda: _configured(config)[1]))


@feedback.command("stats")
def feedback_stats(config: ConfigOption = None) -> None:
    """Count the corrections in the store."""
    import msgspec

    from filterd.corrections.store import Store

    with Store.open(_configured(config)[1].feedback_url) as store:
        for name, value in msgspec.to_builtins(store.stats()).items():
            print(f"{name:16} {value if value not in (None, '', {}) else '-'}")


@feedback.command("list")
def feedback_list(
    limit: Annotated[int, typer.Option(min=1, help="How many of the newest.")] = 50,
    config: ConfigOption = None,
) -> None:
    """List the newest corrections, without text: number, time, label, kind, source, id, hash."""
    from collections import deque

    from filterd.corrections.store import Store

    with Store.open(_configured(config)[1].feedback_url) as store:
        for one in deque(store.iterate(), maxlen=limit):
            time = one.time.isoformat(timespec="seconds")
            name = f"{one.message_id or '-'} {one.content_hash[:16]}"
            print(f"{one.number:6} {time} {one.label:4} {one.kind:4} {one.source or '-':8} {name}")


@feedback.command("export")
def feedback_export(config: ConfigOption = None) -> None:
    """Write all corrections to stdout as JSON lines; `feedback import` reads them."""
    from filterd.corrections.store import Store

    with Store.open(_configured(config)[1].feedback_url) as store:
        count = store.export_lines(sys.stdout.buffer)
    print(f"{count:,} corrections", file=sys.stderr)


@feedback.command("import")
def feedback_import(config: ConfigOption = None) -> None:
    """Read corrections from stdin as `feedback export` writes them: all of them, or none and the reason."""
    from filterd.corrections.store import Store

    with Store.open(_configured(config)[1].feedback_url) as store:
        count = store.import_lines(sys.stdin.buffer)
    print(f"{count:,} corrections were new or changed", file=sys.stderr)


@configuration.command("check")
def config_check(config: ConfigOption = None) -> None:
    """Read the configuration and say whether it is right; exit status 78 where it is not."""
    path, _ = _configured(config)
    print(f"{path or 'built-in defaults'}: ok")


@bundles.command("verify")
def bundle_verify(
    path: Annotated[Path | None, typer.Argument(help="A bundle; the one that judges without it.")] = None,
    config: ConfigOption = None,
) -> None:
    """Check a bundle's hashes, version and probe scores."""
    from filterd.daemon.server import bundle_path
    from filterd.scoring.engine import Engine

    where = path or bundle_path(_configured(config)[1])
    opened = Engine.open(where)
    print(f"{where}: {opened.bundle.id} ok, {len(opened.bundle.manifest.probes)} probe scores agree")
    for line in opened.bundle.manifest.fast_path_lines():
        print(line)


@bundles.command("list")
def bundle_list(config: ConfigOption = None) -> None:
    """List the installed bundles; `*` judges, `<` is what a rollback goes back to."""
    from filterd.errors import BundleError
    from filterd.scoring import bundle as bundling

    store = Path(_configured(config)[1].state) / "bundles"
    links = {
        name: (store / name).resolve() for name in ("current", "previous") if (store / name).is_symlink()
    }
    found = [
        p for p in (sorted(store.iterdir()) if store.is_dir() else []) if p.is_dir() and not p.is_symlink()
    ]
    for path in [*(p for p in found if not p.name.startswith(".")), bundling.DEFAULT]:
        mark = "*" if links.get("current", bundling.DEFAULT) == path.resolve() else " "
        mark = "<" if links.get("previous") == path.resolve() and mark == " " else mark
        try:
            print(f"{mark} {path.name:20} {bundling.read(path).id}")
        except BundleError as error:
            print(f"{mark} {path.name:20} refused: {error}")


@bundles.command("use")
def bundle_use(
    path: Annotated[Path, typer.Argument(help="A bundle's folder; it is copied into the store.")],
    config: ConfigOption = None,
) -> None:
    """Make a bundle the one that judges, after checking it; a running daemon takes it at once."""
    from filterd.daemon import presence
    from filterd.scoring import bundle as bundling
    from filterd.scoring.engine import Engine

    settings = _configured(config)[1]
    opened = Engine.open(path).bundle
    bundling.promote(opened, settings.bundles)
    print(f"{opened.id} is current; {presence.reload(Path(settings.state), opened.id)}")


@bundles.command("rollback")
def bundle_rollback(config: ConfigOption = None) -> None:
    """Go back to the bundle before the current one; a running daemon takes it at once."""
    from filterd.daemon import presence

    settings = _configured(config)[1]
    print(presence.roll_back(settings.bundles, Path(settings.state)))


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

    asked = looking.Asked(since, until, label, kind, to, sender, text)
    looking.history(_configured(config)[1], asked, limit=limit, as_json=as_json)


@app.command()
def why(
    name: Annotated[str, typer.Argument(metavar="ID", help="Of the history, a queue id, Message-ID, file.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    config: ConfigOption = None,
) -> None:
    """Say why a message that was judged got its label."""
    from filterd.commands import explain as explaining
    from filterd.commands import history as looking

    _, settings = _configured(config)

    def words(row: "Record", text: str) -> None:
        from filterd.daemon.server import open_engine
        from filterd.reasons.occlusion import occlude

        linear = row.settled == "fastpath"
        explaining.show_words(occlude(open_engine(settings), text, row.kind, linear=linear))

    looking.why(settings, name, words, as_json=as_json)


@app.command()
def version() -> None:
    """Print the version of filterd."""
    print(f"filterd {__version__}")


def _judge(bundle: Path | None, threads: int | None) -> "Judge":
    """A running daemon's judgement where there is one and no bundle is named, else our own."""
    daemon = _daemon(bundle, threads)
    if daemon:
        return daemon.check
    from filterd.scoring.engine import Engine

    return Engine.open(*_where(bundle), threads=threads, fast_path=True).judge


def _daemon(bundle: Path | None, threads: int | None) -> "Daemon | None":
    from filterd.commands import client

    path = client.socket_path() if not bundle and not threads else None
    return client.Daemon(path) if path else None


def _style() -> "HeaderStyle":
    """As configured; the default where the configuration is not for this user, since the mail comes first."""
    from filterd.headers import HeaderStyle

    try:
        headers = _configured(None)[1].headers
    except FilterdError as error:
        from filterd.commands.pipe import complain

        complain(f"{error}; headers are called as by default")
        return HeaderStyle()
    return HeaderStyle(headers.prefix, headers.keep_forged)


def _configured(path: Path | None) -> "tuple[Path | None, Config]":
    from filterd import config

    return config.in_force(path)


def _where(bundle: Path | None) -> tuple[Path, ...]:
    return (bundle,) if bundle else ()


if __name__ == "__main__":
    main()
