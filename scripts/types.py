"""Check the types of every member, each with its own tests, under mypy's strict mode."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    """Run mypy once a member: equal test file names in two members would collide in one run."""
    members = sorted(path.parent for path in [*ROOT.glob("libs/*/pyproject.toml"), *ROOT.glob("services/*/pyproject.toml")])
    failed = [member.name for member in members if not passes(member)]
    if failed:
        sys.exit(f"types: {', '.join(failed)}")


def passes(member: Path) -> bool:
    """Tell whether one member's package is clean."""
    packages = [str(path.parent) for path in member.glob("*/__init__.py") if path.parent.name != "tests"]
    command = [sys.executable, "-m", "mypy", "--no-error-summary", *packages]
    return subprocess.run(command, cwd=ROOT, check=False).returncode == 0  # noqa: S603  # our own words


if __name__ == "__main__":
    main()
