from pathlib import Path

import pytest
from starter_cli import secrets
from starter_cli.errors import Failure


def test_secrets_are_long_and_all_different(tmp_path: Path) -> None:
    made = secrets.load_or_create(tmp_path / "secrets.json", ["pepper", "password"])
    assert made["pepper"] != made["password"]
    assert all(len(secret) == 43 for secret in made.values())


def test_only_their_owner_can_read_them(tmp_path: Path) -> None:
    secrets.load_or_create(tmp_path / "secrets.json", ["pepper"])
    assert (tmp_path / "secrets.json").stat().st_mode & 0o777 == 0o600


def test_they_stay_the_same_when_new_ones_join_them(tmp_path: Path) -> None:
    first = secrets.load_or_create(tmp_path / "secrets.json", ["pepper"])
    second = secrets.load_or_create(tmp_path / "secrets.json", ["pepper", "salt"])
    assert second["pepper"] == first["pepper"]
    assert secrets.load_or_create(tmp_path / "secrets.json", ["pepper", "salt"]) == second


def test_a_damaged_file_is_reported_and_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "secrets.json"
    file.write_text('{"pepper": "abc')
    with pytest.raises(Failure, match="damaged"):
        secrets.load_or_create(file, ["pepper"])
    assert file.read_text() == '{"pepper": "abc'
