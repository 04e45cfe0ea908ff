"""Python environments for what is no part of Acme, made at first use and kept under .acme/bench."""

import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / ".acme" / "bench"
# What is shared with Acme is pinned as Acme pins it.
REQUIREMENTS: Mapping[str, Sequence[str]] = {
    "agno": (
        "agno[os]==3.1.10",
        "openai==3.54.0",
        "fastapi==0.165.0",
        "uvicorn[standard]==0.54.0",
        "uvloop==0.23.0",
        "sqlalchemy==2.1.9",
        "asyncpg==0.32.0",
    ),
    "py-spy": ("py-spy==0.4.3",),
}


def programs(name: str) -> Path:
    """Return the folder of an environment's programs, making the environment if it is new or has changed."""
    folder, pins = FOLDER / name, "\n".join([sys.version, *REQUIREMENTS[name]])
    marker = folder / "made"
    if not marker.exists() or marker.read_text() != pins:
        shutil.rmtree(folder, ignore_errors=True)
        uv("venv", "--quiet", "--python", sys.executable, str(folder))
        uv("pip", "install", "--quiet", "--python", str(folder / "bin" / "python"), *REQUIREMENTS[name])
        marker.write_text(pins)
    return folder / "bin"


def uv(*words: str) -> None:
    """Run uv; ends the program when it fails."""
    if subprocess.run([sys.executable, "-m", "uv", *words], check=False).returncode:  # noqa: S603  # our own
        sys.exit(f"uv {' '.join(words[:2])} failed")
