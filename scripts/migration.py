"""Write a service's next migration: what its models say and its migrations do not make yet.

The comparison is made with a database of its own, which is gone afterwards.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import Script, ScriptDirectory
from sandbox.embedded import Postgres

ROOT = Path(__file__).resolve().parent.parent


def write(service: Path, message: str, database_url: str) -> Path:
    """Compare the models with a database at the newest revision, and write what is missing."""
    os.environ["DATABASE_URL"] = database_url
    config = Config(toml_file=service / "pyproject.toml")
    command.upgrade(config, "head")
    script = command.revision(config, message, autogenerate=True, rev_id=next_revision(config))
    if not isinstance(script, Script):
        sys.exit("Nothing was written.")
    return Path(script.path)


def next_revision(config: Config) -> str:
    """Return the number after the newest."""
    return f"{int(ScriptDirectory.from_config(config).get_current_head() or 0) + 1:04}"


def tidy(path: Path) -> None:
    """Format a migration as the linter wants it, without unused imports and Alembic's remarks."""
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if not line.lstrip().startswith("# ###")))
    for arguments in (["check", "--fix", "--quiet"], ["format", "--quiet"]):
        subprocess.run([sys.executable, "-m", "ruff", *arguments, str(path)], check=True)  # noqa: S603  # ours


def main() -> None:
    """Run from the command line."""
    services = sorted(path.parent.parent.name for path in ROOT.glob("services/*/migrations/env.py"))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("service", choices=services)
    parser.add_argument("message", help="what it does, in a few words: they become the file's name")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, Postgres(folder) as server:
        path = write(ROOT / "services" / arguments.service, arguments.message, server.url)
    tidy(path)
    print(f"Wrote {path.relative_to(ROOT)}: read it, then run its service's test_migrations.")  # noqa: T201


if __name__ == "__main__":
    main()
