"""`make setup` repairs an environment that does not fit; what needs a package index is not run here."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
# It gets as far as the first package, which it may not download.
OFFLINE = {"PIP_NO_INDEX": "1", "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "HOME": "/"}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Copy what `make setup` reads."""
    folder = tmp_path / "a check out"
    for file in (ROOT / "Makefile", ROOT / "requirements.lock", *ROOT.glob("**/pyproject.toml")):
        if ".venv" not in file.parts:
            copy = folder / file.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, copy)
    return folder


def setup(checkout: Path) -> str:
    command = ["make", "setup", f"PYTHON={sys.executable}"]
    done = subprocess.run(
        command, cwd=checkout, env=OFFLINE, capture_output=True, text=True, timeout=120, check=False
    )
    return done.stdout


def environment(checkout: Path, *options: str) -> Path:
    subprocess.run([sys.executable, "-m", "venv", *options, checkout / ".venv"], check=True)
    (checkout / ".venv" / "mine").touch()
    return checkout / ".venv"


def without_pip(checkout: Path) -> None:
    environment(checkout, "--without-pip")


def without_python(checkout: Path) -> None:
    python = environment(checkout, "--without-pip") / "bin" / "python"
    python.unlink()
    python.symlink_to("/nowhere/python3")


@pytest.mark.parametrize("spoil", [without_pip, without_python])
def test_an_environment_that_does_not_fit_is_made_anew(checkout: Path, spoil: Callable[[Path], None]) -> None:
    spoil(checkout)
    output = setup(checkout)
    assert "Making .venv anew" in output
    assert "Installing the installer" in output
    assert not (checkout / ".venv" / "mine").exists()
    subprocess.run([checkout / ".venv" / "bin" / "python", "-c", "import pip"], check=True)
    assert f"{checkout}/.venv" in (checkout / ".venv" / "bin" / "activate").read_text()


def test_an_environment_that_fits_is_used_until_its_folder_moves(checkout: Path) -> None:
    made = environment(checkout)
    assert "Making .venv anew" not in setup(checkout)
    assert (made / "mine").exists()
    (made / ".ready").write_text(str(checkout))
    assert setup(checkout) == "make: Nothing to be done for 'setup'.\n"
    elsewhere = checkout.rename(checkout.parent / "elsewhere")
    assert "Making .venv anew" in setup(elsewhere)
    assert not (elsewhere / ".venv" / "mine").exists()
