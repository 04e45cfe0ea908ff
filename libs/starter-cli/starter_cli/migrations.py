"""Runs the migrations of several services in one process: to import Alembic takes longer than to migrate."""

import os
import sys

from alembic import command
from alembic.config import Config

from starter_cli.paths import database_variable, service_dir


def migrate(service: str) -> None:
    """Bring the database of a service to its newest revision."""
    os.environ["DATABASE_URL"] = os.environ[database_variable(service)]
    command.upgrade(Config(toml_file=service_dir(service) / "pyproject.toml"), "head")


if __name__ == "__main__":
    for name in sys.argv[1:]:
        migrate(name)
