import shutil
from pathlib import Path

from starter_cli import app, disk
from starter_cli.paths import Folders


def test_says_where_there_is_too_little_room(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    told = disk.shortage(Folders(tmp_path / "not made yet"), free + (1 << 30))
    assert told
    assert f"MB are free in {tmp_path}" in told
    assert disk.shortage(Folders(tmp_path), 0) is None


def test_looks_where_postgres_really_has_its_files(tmp_path: Path) -> None:
    folders, home = Folders(tmp_path / "data"), tmp_path / "home"
    folders.make()
    home.mkdir()
    (folders.databases / "home").write_text(str(home))
    assert list(disk.places(folders)) == [folders.root, home]


def test_an_error_of_a_full_disk_is_named() -> None:
    assert app.of_system(OSError(28, "No space left on device", "/x")).part == "disk"
    assert app.of_system(OSError(13, "Permission denied", "/x")).part == "Acme"
