"""`acme evals`: evaluations, by default of the stack that runs here, as its first owner."""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from acme_evals.cli import app

from starter_cli import owner, run_file
from starter_cli.errors import Failure
from starter_cli.paths import DataDir


def run(arguments: Sequence[str], name: str, data: Path) -> None:
    """Run a command of acme-evals, with an address and an owner to sign in where none is named."""
    if "ACME_URL" not in os.environ and not any(one.startswith("--url") for one in arguments):
        with suppress(Failure):  # without a stack, the command says what it misses
            layout = run_file.load_layout(DataDir(data.absolute()))
            first = owner.first_owner(layout)
            os.environ["ACME_URL"] = layout.gateway_url
            os.environ |= {"ACME_EMAIL": first.email, "ACME_PASSWORD": first.password}
    app(list(arguments), prog_name=name)
