"""Every dialog, whole, byte by byte, and cut in two at each byte."""

from pathlib import Path

import pytest

from tests.plugins.sms.conversation import converse, plugin, read

DIALOGS = sorted((Path(__file__).parent / "dialogs").glob("*.txt"))


@pytest.mark.parametrize("file", DIALOGS, ids=lambda file: file.stem)
async def test_dialog(file: Path, tmp_path: Path) -> None:
    dialog = read(file)
    sms, _ = plugin(tmp_path, dialog)
    asked = b"".join(request for request, _ in dialog.turns)
    expected = (b"".join(answer for _, answer in dialog.turns), dialog.closed)
    assert await converse(sms, [request for request, _ in dialog.turns]) == expected
    assert await converse(sms, [asked]) == expected, "all requests at once"
    assert await converse(sms, [asked[i : i + 1] for i in range(len(asked))]) == expected
    for cut in range(1, len(asked)):
        assert await converse(sms, [asked[:cut], asked[cut:]]) == expected, f"cut at {cut}"


def test_each_gateway_has_a_dialog_for_each_action() -> None:
    names = {file.stem for file in DIALOGS}
    assert {f"{g}-{a}" for g in ("twilio", "kannel") for a in ("forward", "tag", "deny")} <= names
    assert {"twilio-json", "twilio-forged", "kannel-forged", "twilio-unjudged", "kannel-unjudged"} <= names
