"""What is hushed says nothing, and stderr is as it was afterwards, whatever other threads do."""

import os
import threading

import pytest

from filterd.kit.hush import STDERR, hushed


def test_of_two_at_once_both_are_hushed_and_stderr_comes_back(capfd: pytest.CaptureFixture[str]) -> None:
    inside, leave, entered, end = (threading.Event() for _ in range(4))

    def first() -> None:
        with hushed():
            inside.set()
            assert leave.wait(10)

    def second() -> None:
        with hushed():
            entered.set()
            os.write(STDERR, b"nothing of this\n")
            assert end.wait(10)

    threads = [threading.Thread(target=one) for one in (first, second)]
    threads[0].start()
    assert inside.wait(10)
    threads[1].start()
    entered.wait(0.05)  # without its turn it is in by now, and has kept what the first put there
    leave.set()
    threads[0].join(10)
    end.set()
    threads[1].join(10)
    os.write(STDERR, b"said\n")
    assert capfd.readouterr().err == "said\n"
