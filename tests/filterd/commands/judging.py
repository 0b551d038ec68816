"""`filterd` as a process whose model is `fakes`, for tests of what a process does: no spam word is unsure."""

from filterd import judge
from filterd.api import Kind
from filterd.commands import entry
from filterd.scoring.verdict import Thresholds
from tests.filterd import fakes

if __name__ == "__main__":
    unsure = {kind: Thresholds(unsure=0.01, spam=0.9) for kind in Kind}
    judge.open_engine = lambda *_, **__: fakes.engine(thresholds=unsure)[0]
    entry.main()
