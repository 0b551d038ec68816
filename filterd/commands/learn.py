"""`filterd learn` and `filterd forget`: corrections to a running daemon, else to the store itself.

Whoever moves a mail to Junk gives his correction once. So where a daemon does not answer, or is too busy to,
the store is written here, and the daemon has the correction when it starts or learns next.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from filterd.api import Kind, Label, Message
from filterd.commands import client, pipe
from filterd.commands.input import Item, asked_kind, exclude, items
from filterd.errors import ConfigError, FilterdError, LearningClosed, ModelUnavailable, Overloaded, StoreError

if TYPE_CHECKING:  # a running daemon has its own, and reading YAML takes longer than asking it
    from filterd.config import Config

ANSWER_TIMEOUT_S = 5.0  # the daemon takes milliseconds; a person may be waiting for the mail to move

HOPELESS = (LearningClosed, ModelUnavailable, StoreError)  # the next message would only fail the same way

Correct = Callable[[Message], bool]


@dataclass(frozen=True, slots=True)
class Options:
    """What `filterd learn` and `forget` were asked for; each field is the option of its name."""

    spam: bool = False
    ham: bool = False
    mail: bool = False
    sms: bool = False
    user: str = ""


def learn(
    paths: Sequence[str],
    options: Options,
    config: "Callable[[], Config]",
    mailboxes: Sequence[Path] = (),
) -> int:
    """Do what `filterd learn` does; returns the exit status. Raises ConfigError for wrong options."""
    if options.spam == options.ham:
        raise ConfigError("say what they are: --spam or --ham")
    exclude({"--maildir": bool(mailboxes), "--sms": options.sms, "FILE": bool(paths)})
    label = Label.SPAM if options.spam else Label.HAM
    kind = asked_kind(mail=options.mail, sms=options.sms)
    return correct(paths, kind, label, config, mailboxes, options.user)


def forget(paths: Sequence[str], options: Options, config: "Callable[[], Config]") -> int:
    """Do what `filterd forget` does; returns the exit status. Raises ConfigError for wrong options."""
    kind = asked_kind(mail=options.mail, sms=options.sms)
    return correct(paths, kind, None, config, user=options.user)


def correct(
    paths: Sequence[str],
    kind: Kind | None,
    label: Label | None,
    config: "Callable[[], Config]",
    mailboxes: Sequence[Path] = (),
    user: str = "",
) -> int:
    """Learn messages as `label`, or forget them where it is None; returns the exit status.

    mailboxes: whole ones, instead of paths; an interrupted run leaves what it has learned, and the next one
    finds that known. user: whose word it is, "" for the site's. Raises NotFound where one is not there.
    """
    inputs = _from_mailboxes(mailboxes) if mailboxes else items(paths, kind, lines=False)
    path = client.socket_path()
    with contextlib.ExitStack() as stack:
        alone = cache(lambda: _alone(stack, config(), label))
        if not path:
            return _each(inputs, label, _of(user, alone()))
        daemon = client.Daemon(path, ANSWER_TIMEOUT_S)
        return _each(inputs, label, _of(user, _daemon_first(_with_daemon(daemon, label), alone)))


def _of(user: str, take: Correct) -> Correct:
    """The same in the name of a user."""
    return lambda message: take(replace(message, user=user))


def _from_mailboxes(mailboxes: Sequence[Path]) -> Iterator[Item]:
    from filterd.commands import mailbox

    return mailbox.items(mailboxes)


def _daemon_first(ask: Correct, alone: Callable[[], Correct]) -> Correct:
    """Ask the daemon, and from the first message on that gets no answer from it write the store."""
    silent: list[FilterdError] = []

    def take(message: Message) -> bool:
        if not silent:
            try:
                return ask(message)
            except (ModelUnavailable, Overloaded) as error:
                silent.append(error)
        try:
            return alone()(message)
        except FilterdError as error:
            raise type(error)(f"{silent[0]}; nor without it: {error}") from error

    return take


def _with_daemon(daemon: client.Daemon, label: Label | None) -> Correct:
    return daemon.forget if label is None else lambda message: daemon.learn(message, label)


def _alone(stack: contextlib.ExitStack, config: "Config", label: Label | None) -> Correct:
    from filterd.corrections.learner import Learner

    learner = Learner.open(config)
    stack.callback(learner.close)
    return learner.forget if label is None else lambda message: learner.learn(message, label)


def _each(inputs: Iterator[Item], label: Label | None, take: Correct) -> int:
    status, counts = 0, {True: 0, False: 0}  # by whether it changed anything
    try:
        for item in inputs:
            try:
                if item.message is None:
                    raise item.error or FilterdError(item.name)
                counts[take(item.message)] += 1
            except FilterdError as error:
                pipe.complain(str(error))
                status = status or error.exit_status
                if isinstance(error, HOPELESS):
                    break
    finally:  # also where it is interrupted
        said = ("forgotten", "not known") if label is None else (f"learned as {label}", "known already")
        print(f"{said[0]}: {counts[True]}, {said[1]}: {counts[False]}")
    return status
