import shutil
from pathlib import Path

from starter_cli import disk, exits
from starter_cli.paths import DataDir


def test_says_where_there_is_too_little_room(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    result = disk.shortage(DataDir(tmp_path / "not made yet"), free + (1 << 30))
    assert result
    assert f"MB are free in {tmp_path}" in result
    assert disk.shortage(DataDir(tmp_path), 0) is None


def test_looks_where_postgres_really_has_its_files(tmp_path: Path) -> None:
    data_dir, home = DataDir(tmp_path / "data"), tmp_path / "home"
    data_dir.create()
    home.mkdir()
    (data_dir.databases / "home").write_text(str(home))
    assert list(disk.data_locations(data_dir)) == [data_dir.root, home]


def test_an_error_of_a_full_disk_is_named() -> None:
    assert exits.from_os_error(OSError(28, "No space left on device", "/x")).component == "disk"
    assert exits.from_os_error(OSError(13, "Permission denied", "/x")).component == "Acme"
