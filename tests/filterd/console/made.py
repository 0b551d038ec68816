"""A console with the engine of `fakes`, a history with a few messages, and people who look at it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from filterd.api import Kind, Label, Message, Verdict
from filterd.config import Config, Model
from filterd.config import Console as ConsoleSection
from filterd.config import History as HistorySection
from filterd.console import app as console
from filterd.console.access import Sessions
from filterd.console.accounts import Accounts, Role
from filterd.console.desk import Controls, Desk
from filterd.corrections.learner import Learner
from filterd.history.record import VerdictEvent
from filterd.history.recorder import Recorder, key_of
from filterd.history.store import Search
from filterd.protocols.http import app as http
from filterd.scoring.verdict import Thresholds
from filterd.service.service import Service
from tests.filterd.fakes import engine

PASSWORD = "correct horse battery"
SPAM = b"From: win@bad.example\nMessage-ID: <%d@x>\nSubject: %b\n\nyou are our prize winner\n"
BASE = "http://filterd/console"


class Made(NamedTuple):
    """What a test needs of a console. said: what the controls were told."""

    service: Service
    desk: Desk
    recorder: Recorder
    said: list[str]

    async def judge(self, subject: str = "hello", to: str = "ann@example.org", number: int = 1) -> str:
        """Judge a mail as the daemon would; returns its id in the history."""
        raw = SPAM % (number, subject.encode())
        await self.service.check(
            Message(
                raw,
                kind=Kind.MAIL,
                id=f"q{number}",
                sender="win@bad.example",
                recipients=(to,),
                source="milter",
            )
        )
        self.recorder.flush()
        assert self.desk.history
        return self.desk.history.search(Search(), 1)[0].id

    def put(self, subject: str, to: str = "ann@example.org") -> str:
        """A verdict with any subject, as an engine that cleans nothing would give it."""
        found = Verdict(
            label=Label.SPAM,
            probability=0.99,
            points=7.0,
            kind=Kind.MAIL,
            model="fake-1",
            tests=("GPT2",),
            subject=subject,
        )
        message = Message(
            SPAM % (1, b"x"),
            kind=Kind.MAIL,
            id="q1",
            sender="<i>w@bad.example",
            recipients=(to,),
            source="milter",
        )
        self.recorder.judged(VerdictEvent(message, found, Thresholds(0.3, 0.9), 1_790_000_000.0))
        self.recorder.flush()
        assert self.desk.history
        return self.desk.history.search(Search(), 1)[0].id

    def client(self, **options: Any) -> httpx.AsyncClient:
        app = http.make(self.service, http.Access("http", may_learn=True), 10_000, [console.make(self.desk)])
        address = options.pop("client", ("127.0.0.1", 1))
        return httpx.AsyncClient(
            transport=httpx.ASGITransport(app, client=address), base_url="http://filterd", **options
        )

    @asynccontextmanager
    async def sign_in(self, name: str = "anna") -> AsyncIterator[httpx.AsyncClient]:
        async with self.client() as client:
            answer = await client.post("/console/login", data={"name": name, "password": PASSWORD})
            assert answer.status_code == 303, answer.text
            yield client


@asynccontextmanager
async def console_of(state: Path, **section: Any) -> AsyncIterator[Made]:
    """A console with an administrator anna, a reader rob, and a user ben@example.org, called ben."""
    kept = HistorySection(subjects=True, addresses="full", text=True)
    config = Config(state=str(state), model=Model(workers=1), history=kept, console=ConsoleSection(**section))
    learner, recorder = Learner.open(config), Recorder.open(config)
    service = Service(config, engine()[0], learner)
    service.observers.append(recorder.judged)
    accounts = Accounts(state)
    if not len(accounts):
        accounts.put("anna", Role.ADMINISTRATOR, PASSWORD)
        accounts.put("rob", Role.READER, PASSWORD)
        accounts.put("ben", Role.USER, PASSWORD, ("ben@example.org",))
    said: list[str] = []

    def promote(path: Path) -> str:
        said.append(path.name)
        return f"{path.name} is current"

    def roll_back() -> str:
        said.append("rollback")
        return "rolled back"

    sessions = Sessions(key_of(state), accounts)
    controls = Controls(promote, roll_back)
    desk = Desk(service, recorder.history, recorder.keys, accounts, sessions, controls)
    try:
        yield Made(service, desk, recorder, said)
    finally:
        desk.close()
        await service.close(5.0)
        recorder.close()
        learner.close()


def token_of(page: httpx.Response) -> str:
    """The token of a page's forms."""
    return page.text.split('name="token" value="')[1].split('"')[0]
