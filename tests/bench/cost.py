"""Processor time of a mail by stage, in one process: what a core can do, whatever else the machine does.

The first figures of sizing (docs/scale.md): a core does 1000 / (milliseconds of a mail) mails a second, and
several workers share nothing but the sockets. Sizes: BENCH_MAILS (300); which mails: `_mails`.
"""

import os
import time

from rich.table import Table

from filterd import judge
from filterd.api import Kind, Message
from filterd.config import Config
from filterd.scoring.engine import Engine, ModelInput
from tests.bench import _mails as mails

MAILS = int(os.environ.get("BENCH_MAILS", "300"))
WARM = 20  # mails before the clock starts: tables and caches are made then


def run() -> Table:
    """Milliseconds of one core a mail: reading and the first look, the model where it is asked, all of it."""
    engine = judge.open_engine(Config(), threads=1)
    messages = [Message(raw, kind=Kind.MAIL) for raw in mails.mails(WARM + MAILS)]
    engine.judge(messages[:WARM])
    began = time.process_time()
    read = [engine.prepare(message) for message in messages[WARM:]]
    middle = time.process_time()
    for one in read:
        _conclude(engine, one)
    end = time.process_time()
    settled = sum(one.settled is not None for one in read)
    table = Table(title=f"{MAILS} mails, {engine.bundle.id}, one core, processor time", title_justify="left")
    for column in (
        "reading and first look",
        "model, of all mails",
        "together",
        "mails/s of a core",
        "settled",
    ):
        table.add_column(column, justify="right")
    reading, model = (1000 * seconds / MAILS for seconds in (middle - began, end - middle))
    table.add_row(
        *(f"{reading:.2f} ms", f"{model:.2f} ms", f"{reading + model:.2f} ms"),
        *(f"{1000 / (reading + model):,.0f}", f"{settled / MAILS:.0%}"),
    )
    return table


def _conclude(engine: Engine, one: ModelInput) -> None:
    engine.conclude(one, engine.logits(one.windows))
