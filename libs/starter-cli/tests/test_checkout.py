"""A copied checkout with the original's environment says so instead of running the original's code."""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def test_an_environment_of_another_checkout_is_refused(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    (copy / "libs" / "starter-cli").mkdir(parents=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", copy / ".venv"], check=True)
    # As `cp -r` leaves it: the packages are those of the original, the script names the original's Python.
    [site] = (copy / ".venv" / "lib").glob("python*/site-packages")
    site.joinpath("original.pth").write_text(next(p for p in sys.path if p.endswith("site-packages")))
    for lib in ("starter-cli", "sandbox", "servicekit"):
        site.joinpath(f"{lib}.pth").write_text(str(ROOT / "libs" / lib))
    script = shutil.copy(Path(sys.executable).parent / "acme", copy / ".venv" / "bin" / "acme")
    for command in ([copy / ".venv" / "bin" / "python", "-m", "starter_cli.app"], [script]):
        done = subprocess.run(
            [*command, "status"], capture_output=True, text=True, timeout=60, cwd=tmp_path, check=False
        )
        assert done.returncode == 1
        assert f"was copied from {ROOT}" in done.stdout, done.stderr
        assert f"`make setup` in {copy} makes it anew" in done.stdout
