"""Whether it is this checkout's own code that runs: an environment that was copied runs the original's."""

import sys
from pathlib import Path

from starter_cli.errors import Failure
from starter_cli.paths import CHECKOUT


def require_own() -> None:
    """Raise Failure when the environment belongs to another checkout than the code that it runs."""
    for environment in (Path(sys.prefix), Path(sys.argv[0]).absolute().parent.parent):
        folder = environment.parent.resolve()
        is_checkout = environment.name == ".venv" and (folder / "libs" / "starter-cli").is_dir()
        if is_checkout and folder != CHECKOUT:
            raise Failure(
                "Acme",
                f"{environment} was copied from {CHECKOUT}, and would run the code and the data there;"
                f" `make setup` in {folder} makes it anew",
            )
