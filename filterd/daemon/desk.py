"""What the console works at in a worker: accounts and the history's key lie in the state folder."""

from pathlib import Path

from filterd.config import Config
from filterd.console.access import Sessions
from filterd.console.accounts import Accounts
from filterd.console.desk import Controls, Desk
from filterd.history.recorder import Recorder, key_of
from filterd.promotion import champion, presence
from filterd.scoring import bundle
from filterd.service.service import Service


def open_desk(config: Config, service: Service, recorder: Recorder) -> Desk | None:
    """The desk; None where the console is off."""
    if not config.console.enabled:
        return None
    state, bundles = Path(config.state), config.bundles
    accounts = Accounts(state)

    def promote(path: Path) -> str:
        bundle.use(bundles, path.name)
        return f"{path.name} is current; {presence.reload(state, bundle.read(path).id)}"

    return Desk(
        service=service,
        history=recorder.history,
        keys=recorder.keys,
        accounts=accounts,
        sessions=Sessions(key_of(state), accounts),
        controls=Controls(promote, lambda: champion.roll_back(bundles, state)),
    )
