"""Write the synchronous client of libs/client-python from the asynchronous one, or check it."""

import argparse
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "libs" / "client-python" / "acme_client"
MODULES = ("client", "credentials", "responses", "sse", "stream")
HEADER = "# Written from acme_client/{name}.py by scripts/synchronous_client.py: change it there.\n"
# In this order.
REPLACEMENTS = {
    r"\basync (def|with|for)\b": r"\1",
    r"\bawait ": "",
    r"\bAsyncGenerator\[RunEvent, None\]": "Generator[RunEvent, None, None]",
    r"\b(Abstract)?Async(Client|ContextManager|Generator|Iterable|Iterator)\b": r"\1\2",
    r"\basynccontextmanager\b": "contextmanager",
    r"\b__a(enter|exit)__\b": r"__\1__",
    r"\ba(close|read|iter_bytes)\b": r"\1",
    r"\bfrom asyncio import Lock\b": "from threading import Lock",
    r"\bfrom asyncio import sleep\b": "from time import sleep",
    r"\bone task at a time\b": "one thread at a time",
    rf"\bacme_client\.({'|'.join(MODULES)})\b": r"acme_client.synchronous.\1",
}


def synchronous(name: str) -> str:
    """Return a module of the synchronous client."""
    text = (PACKAGE / f"{name}.py").read_text(encoding="utf-8")
    for pattern, replacement in REPLACEMENTS.items():
        text = re.sub(pattern, replacement, text)
    path = PACKAGE / "synchronous" / f"{name}.py"
    text = HEADER.format(name=name) + text
    for options in (["check", "--quiet", "--select", "I", "--fix-only"], ["format"]):
        command = [sys.executable, "-m", "ruff", *options, "--stdin-filename", str(path), "-"]
        text = subprocess.run(command, input=text, check=True, capture_output=True, text=True).stdout  # noqa: S603  # our own words
    return text


def main(words: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 when it is stale")
    is_check = parser.parse_args(words).check
    for name in MODULES:
        path = PACKAGE / "synchronous" / f"{name}.py"
        text = synchronous(name)
        if is_check and text != path.read_text(encoding="utf-8"):
            sys.exit(f"{path.name} of the synchronous client is not up to date: make contracts")
        if not is_check:
            path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
