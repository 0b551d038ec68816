"""The console in a real Chromium: each page, each button, keyboard alone, both themes, 360 px, axe-core.

A daemon as a process (the engine of `fakes`), a history made up, Debian's Chromium by its driver. Pictures of
each page are kept where FILTERD_ARTEFACTS names a folder.
"""

import asyncio
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from filterd.api import Kind, Label, Message, Verdict
from filterd.config import Config, load
from filterd.corrections.correction import correct
from filterd.history.record import at, encode
from filterd.history.recorder import key_of
from filterd.history.store import HistoryStore, MessageContent
from filterd.quarantine.store import QuarantineStore
from tests.conftest import ROOT, need_program
from tests.filterd.console.made import PASSWORD
from tests.filterd.console.test_reports import record
from tests.filterd.history.made import row
from tests.plugins.smtp_proxy.peers import Sink

webdriver = pytest.importorskip("selenium.webdriver")
axe_core_python = pytest.importorskip("axe_core_python")
WebDriverException = pytest.importorskip("selenium.common.exceptions").WebDriverException

pytestmark = pytest.mark.slow

TIMEOUT_S = 120.0
PAGES = ["", "messages", "learn", "quarantine", "lists", "models", "check", "status"]
SUBJECTS = ["Lunch on Friday?", "You have won <b>a prize</b>", "Your parcel is waiting", "Minutes of Tuesday"]
HOSTILE = "<img src=x onerror=alert(1)> \u202egpj.exe\x1b[31m"
ANN = "ann@example.org"
HELD: list[str] = []  # pages of held messages: one's own, and the one that its link opens
FLAGS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--lang=en"]
AXE = "axe.run(document, {resultTypes: ['violations']}).then(arguments[0], e => arguments[0](String(e)))"


def fill(state: Path) -> None:
    """Forty messages of the last day."""
    now = time.time()
    made = []
    for i in range(40):
        subject, when = SUBJECTS[i % 4], now - i * 1700
        text = f"{subject}\n\nyou are our prize winner, number {i}\n"
        kept = correct(f"Message-ID: <{i}@x>\nSubject: {text}".encode(), Kind.MAIL, Label.HAM, text=text)
        changes: dict[str, Any] = {"number": at(when), "time": when, "subject": subject, "name": f"q{i}"}
        changes |= {
            "content_hash": kept.content_hash,
            "sender": "win@bad.example",
            "recipients": "ann@example.org",
        }
        changes |= {"label": list(Label)[i % 3], "settled": ("model", "fastpath")[i % 2]}
        made.append((row(**changes), MessageContent(kept.features, text)))
    with HistoryStore.open(state / "history.sqlite") as history:
        history.add(made)


def hold(config: Config) -> list[str]:
    """Six held messages; the addresses of pages of theirs."""
    with QuarantineStore.open(config) as quarantine:
        for i, subject in enumerate((*SUBJECTS, HOSTILE, "x" * 190)):
            raw = f"From: win@bad.example\nSubject: {i}\n\nyou are our prize winner {i}\n".encode()
            message = Message(
                raw,
                kind=Kind.MAIL,
                id=f"q{i}",
                sender="win@bad.example",
                recipients=(ANN, f"b{i}@example.org"),
                source="milter",
            )
            found = Verdict(
                label=Label.SPAM,
                probability=0.99,
                points=7.0 + i,
                kind=Kind.MAIL,
                model="fake-1",
                subject=subject,
            )
            number = quarantine.keep(message, found)
        keys = quarantine.keys(ANN)
        assert keys
        link = quarantine.signer.link(number, keys[0], 1.0)
    return [f"quarantine/{encode(number)}", f"release/{link}"]


@pytest.fixture(scope="module")
def next_hop() -> Iterator[Sink]:
    """Takes what is released, in a thread of its own."""
    loop, sink = asyncio.new_event_loop(), Sink()
    sink.says["address"] = loop.run_until_complete(sink.start_tcp())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield sink
    loop.call_soon_threadsafe(sink.stop)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture(scope="module")
def console(next_hop: Sink) -> Iterator[str]:
    """The address of a console with an administrator anna."""
    folder = Path(tempfile.mkdtemp(dir="/tmp", prefix="filterd-"))
    port = 20_000 + os.getpid() % 10_000
    state = folder / "state"
    state.mkdir()
    config = {
        "state": str(state),
        "spamd": {"listen": []},
        "http": {"listen": [f"tcp:127.0.0.1:{port}"]},
        "history": {"subjects": True, "addresses": "full", "text": True},
        "quarantine": {"next_hop": next_hop.says.pop("address"), "link": f"http://127.0.0.1:{port}"},
    }
    (folder / "filterd.yaml").write_text(yaml.safe_dump(config))
    env = {**os.environ, "FILTERD_CONFIG": str(folder / "filterd.yaml"), "FILTERD_SOCKET": ""}
    command = [sys.executable, "-m", "tests.filterd.serving"]
    subprocess.run(
        [*command, "console", "password", "anna"], input=PASSWORD.encode(), env=env, check=True, cwd=ROOT
    )
    key_of(state)
    fill(state)
    record(state, 7)
    HELD[:] = hold(load(folder / "filterd.yaml"))
    log = folder / "log"
    with log.open("wb") as stream:
        daemon = subprocess.Popen([*command, "serve"], stderr=stream, env=env, cwd=ROOT)
    try:
        until = time.monotonic() + TIMEOUT_S
        while "event=ready" not in log.read_text():
            assert daemon.poll() is None and time.monotonic() < until, log.read_text()
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/console"
    finally:
        daemon.terminate()
        daemon.wait(TIMEOUT_S)


@pytest.fixture(scope="module")
def browser(console: str) -> Iterator[Any]:
    """Chromium, signed in."""
    options = webdriver.ChromeOptions()
    for flag in FLAGS:
        options.add_argument(flag)
    options.binary_location = need_program("chromium")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(need_program("chromedriver"))
    driver = webdriver.Chrome(options=options, service=service)
    driver.set_page_load_timeout(TIMEOUT_S)
    driver.set_script_timeout(TIMEOUT_S)
    driver.implicitly_wait(20)
    look(driver)
    driver.get(f"{console}/login")
    driver.switch_to.active_element.send_keys("anna\t" + PASSWORD + "\n")
    driver.find_element("css selector", ".tiles")
    yield driver
    driver.quit()


def look(driver: Any, *, width: int = 1280, dark: bool = False) -> None:
    """Set the width and the theme."""
    theme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [theme]})
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def keep(driver: Any, name: str) -> None:
    """A picture of the page, where somebody wants it."""
    folder = os.environ.get("FILTERD_ARTEFACTS")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        driver.save_screenshot(str(Path(folder) / f"console-{name}.png"))


def press(driver: Any, *keys: str) -> None:
    """Type where the focus is."""
    for key in keys:
        webdriver.ActionChains(driver).send_keys(key).perform()


def text_of(driver: Any, selector: str) -> str:
    return str(driver.find_element("css selector", selector).text)


def shows(driver: Any, selector: str, wanted: str) -> bool:
    """Whether a text comes to be there: a click returns before the next page has come."""
    for _ in range(50):
        try:
            if wanted in text_of(driver, selector):
                return True
        except WebDriverException:  # the page is changing at this moment
            pass
        time.sleep(0.1)
    return False


def axe(driver: Any) -> list[dict[str, Any]]:
    """Serious and critical findings of axe-core, which the driver puts in past the page's policy."""
    script = Path(axe_core_python.__file__).parent / "axe.min.js"
    driver.execute_script(script.read_text("utf-8"))
    found = driver.execute_async_script(AXE)
    assert isinstance(found, dict), found
    return [one for one in found["violations"] if one["impact"] in {"serious", "critical"}]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
@pytest.mark.parametrize("page", [*PAGES, "message", "held", "release"])
def test_a_page_fits_is_readable_and_breaks_no_rule(
    browser: Any, console: str, page: str, width: int, dark: bool
) -> None:
    look(browser, width=width, dark=dark)
    if page == "message":
        browser.get(f"{console}/messages")
        browser.get(browser.find_element("css selector", "a.subject").get_attribute("href"))
        assert browser.find_elements("css selector", "mark")
    elif page in {"held", "release"}:
        browser.get(f"{console}/{HELD[page == 'release']}")
        assert browser.find_elements("css selector", "button[value=release]")
    else:
        browser.get(f"{console}/{page}")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert [f"{one['id']}: {one['nodes'][0]['html']}" for one in axe(browser)] == []
    assert [one for one in browser.get_log("browser") if one["level"] == "SEVERE"] == []
    keep(browser, f"{page or 'overview'}-{width}-{'dark' if dark else 'light'}")


def test_messages_are_corrected_and_undone_by_keys_alone(browser: Any, console: str) -> None:
    look(browser)
    browser.get(f"{console}/messages")
    press(browser, "j", "j", "k", "j")
    chosen = browser.find_element("css selector", "tr.chosen").get_attribute("data-id")
    assert chosen == browser.find_elements("css selector", "tr[data-id]")[1].get_attribute("data-id")
    press(browser, "h")
    assert shows(browser, ".done", "not spam")
    here = f"tr[data-id='{chosen}']"
    assert "you said not spam" in text_of(browser, here)
    assert "chosen" in browser.find_element("css selector", here).get_attribute("class")
    press(browser, "u")
    assert shows(browser, ".done", "Forgotten")
    assert "you said" not in text_of(browser, here)
    press(browser, "/")
    assert browser.switch_to.active_element.get_attribute("id") == "search"
    press(browser, "p", "r", "i", "z", "e", "\n")
    assert "text=prize" in browser.current_url
    assert {one.text for one in browser.find_elements("css selector", "a.subject")} == {SUBJECTS[1]}
    press(browser, "j", "\n")
    assert text_of(browser, "h1") == SUBJECTS[1]
    press(browser, "s")
    assert shows(browser, ".done", "Taken as spam")
    press(browser, "f")
    assert shows(browser, ".done", "Forgotten")
    press(browser, "?")
    assert shows(browser, "dialog[open]", "next, previous message")


def test_buttons_of_lists_and_thresholds(browser: Any, console: str) -> None:
    look(browser)
    browser.get(f"{console}/lists")
    browser.find_element("name", "value").send_keys("bad.example\n")
    assert shows(browser, "table", "bad.example")
    browser.find_element("css selector", "button[value=remove]").click()
    assert shows(browser, "main", "No entries yet")
    spam = browser.find_element("name", "spam")
    spam.clear()
    spam.send_keys("0.995")
    browser.find_element("css selector", "button[formmethod=get]").click()
    assert shows(browser, ".done", "messages of the last 7 days")
    browser.find_element("css selector", "button[value=set]").click()
    browser.find_element("css selector", "button[value=reset]").click()
    for _ in range(50):
        if not browser.execute_script("return document.querySelector('button[value=reset]')"):
            break
        time.sleep(0.1)
    assert not browser.execute_script("return document.querySelector('button[value=reset]')")


def test_held_mail_is_found_released_and_deleted(browser: Any, console: str, next_hop: Sink) -> None:
    look(browser)
    browser.get(f"{console}/quarantine")
    assert not browser.execute_script("return document.querySelector('main img')")
    assert len(browser.find_elements("css selector", "tr[data-id]")) == 6
    browser.find_element("id", "search").send_keys("parcel\n")
    assert shows(browser, "tbody", "Your parcel is waiting")
    browser.find_element("css selector", "button[value=ham]").click()
    assert shows(browser, ".done", "taken as not spam")
    assert [taken.commands[-2].upper() for taken in next_hop.taken] == [
        *("RCPT TO:<ANN@EXAMPLE.ORG>", "RCPT TO:<B2@EXAMPLE.ORG>")
    ]
    browser.get(f"{console}/quarantine")
    browser.find_element("css selector", "button[value=delete]").click()
    assert shows(browser, ".done", "Deleted")
    browser.get(f"{console}/{HELD[1]}")
    assert shows(browser, "main", "It was deleted")
    browser.get(f"{console}/quarantine?state=all")
    assert shows(browser, "tbody", "(released)")


def test_a_message_is_judged_pasted_and_as_a_file(browser: Any, console: str, tmp_path: Path) -> None:
    browser.get(f"{console}/check")
    browser.find_element("name", "text").send_keys("the prize <img src=x onerror=alert(1)>")
    browser.find_element("css selector", "button.main").click()
    assert shows(browser, "#found", "spam")
    assert not browser.execute_script("return document.querySelector('#result img')")
    browser.get(f"{console}/check")
    (tmp_path / "m.eml").write_bytes(b"Subject: <script>x</script>\n\nlunch at noon?\n")
    browser.find_element("id", "file").send_keys(str(tmp_path / "m.eml"))
    assert shows(browser, "#found", "ham")
    assert not browser.execute_script("return document.querySelector('#result script')")


def test_pages_ranges_languages_and_the_end_of_a_session(browser: Any, console: str) -> None:
    browser.get(f"{console}/?range=week")
    assert text_of(browser, ".tabs [aria-current]") == "7 days"
    browser.find_element("css selector", "footer a[lang=de]").click()
    assert text_of(browser, "h1") == "Übersicht"
    browser.find_element("css selector", "footer a[lang=en]").click()
    browser.get(f"{console}/messages")
    browser.find_element("id", "live").click()
    browser.find_element("css selector", ".who button").click()
    assert text_of(browser, "h1") == "Sign in"
    browser.get(f"{console}/messages")
    assert text_of(browser, "h1") == "Sign in"
