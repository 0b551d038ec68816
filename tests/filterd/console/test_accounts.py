"""Passwords, roles and the file that they lie in."""

import stat
from pathlib import Path

import pytest

from filterd.console.accounts import FILE, MAX_PASSWORD, Account, Accounts, Role
from filterd.errors import BadInput, StoreError

PASSWORD = "correct horse battery"


def test_a_password_is_kept_as_a_hash_that_only_it_fits(tmp_path: Path) -> None:
    accounts = Accounts(tmp_path)
    accounts.put("anna", Role.ADMINISTRATOR, PASSWORD)
    accounts.put("ben", Role.USER, PASSWORD, ("ben@example.org",))
    found = Accounts(tmp_path).verify("ben", PASSWORD)
    assert found and (found.role, found.addresses) == (Role.USER, ("ben@example.org",))
    for name, password in (("ben", PASSWORD + "x"), ("ben", ""), ("nobody", PASSWORD), ("nobody", "")):
        assert accounts.verify(name, password) is None
    written = (tmp_path / FILE).read_text()
    assert PASSWORD not in written
    assert accounts.all()["anna"].password != accounts.all()["ben"].password
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600


def test_an_account_without_a_password_cannot_sign_in(tmp_path: Path) -> None:
    accounts = Accounts(tmp_path)
    accounts._write({"anna": Account("anna", Role.ADMINISTRATOR)})
    assert accounts.verify("anna", "") is None


@pytest.mark.parametrize(
    ("name", "password"),
    [("anna", "short"), ("", PASSWORD), ("a b", PASSWORD), ("a:b", PASSWORD), ("<b>", PASSWORD),
     ("x" * 65, PASSWORD), ("anna", "x" * (MAX_PASSWORD + 1))],
)  # fmt: skip
def test_names_and_passwords_have_bounds(tmp_path: Path, name: str, password: str) -> None:
    with pytest.raises(BadInput):
        Accounts(tmp_path).put(name, Role.USER, password)


def test_accounts_go_and_change_while_others_look(tmp_path: Path) -> None:
    here, there = Accounts(tmp_path), Accounts(tmp_path)
    assert len(there) == 0
    here.put("anna", Role.ADMINISTRATOR, PASSWORD)
    assert there.verify("anna", PASSWORD)
    assert here.remove("anna")
    assert not here.remove("anna")
    assert there.get("anna") is None


@pytest.mark.parametrize("content", ["", "{", "[{}]", '[{"name": "a", "role": "king"}]'])
def test_a_damaged_file_is_one_line(tmp_path: Path, content: str) -> None:
    (tmp_path / FILE).write_text(content)
    with pytest.raises(StoreError, match="set the passwords anew"):
        Accounts(tmp_path).all()
