"""Every dialog, whole, byte by byte, and cut in two at many bytes."""

from pathlib import Path

import pytest

from filterd.errors import Overloaded
from tests.plugins.sms.conversation import Running, plain, read, settings

DIALOGS = sorted((Path(__file__).parent / "dialogs").glob("*.txt"))
CUTS = 40  # of a dialog, at equal distances; the parser's own tests cut at each byte


@pytest.mark.parametrize("file", DIALOGS, ids=lambda file: file.stem)
async def test_dialog(file: Path, tmp_path: Path) -> None:
    dialog = read(file)
    asked = b"".join(request for request, _ in dialog.turns)
    expected = ([plain(answer) for _, answer in dialog.turns], dialog.closed)
    async with Running(settings(tmp_path, dialog.changes), tmp_path / "sms.sock") as sms:
        if dialog.fails:
            sms.classifier.error = Overloaded("the queue is full")
        assert await sms.converse([request for request, _ in dialog.turns]) == expected
        assert await sms.converse([asked]) == expected, "all requests at once"
        assert await sms.converse([asked[i : i + 1] for i in range(len(asked))]) == expected
        for cut in range(1, len(asked), max(1, len(asked) // CUTS)):
            assert await sms.converse([asked[:cut], asked[cut:]]) == expected, f"cut at {cut}"


def test_each_gateway_has_a_dialog_for_each_action() -> None:
    names = {file.stem for file in DIALOGS}
    assert {f"{g}-{a}" for g in ("twilio", "kannel") for a in ("forward", "tag", "deny")} <= names
    assert {"twilio-json", "twilio-forged", "kannel-forged", "twilio-unjudged", "kannel-unjudged"} <= names
