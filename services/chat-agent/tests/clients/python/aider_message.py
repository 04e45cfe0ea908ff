"""aider's command, with one message about one file."""

import re
import subprocess
import sys
from functools import cache
from pathlib import Path

from report import API_KEY, BASE_URL, MODEL, TEXT, report

COMMAND = [Path(__file__).with_name("start.py"), Path(sys.executable).with_name("aider")]
OPTIONS = """
    --no-git --no-pretty --yes-always --no-check-update --analytics-disable
    --no-show-model-warnings --no-show-release-notes --no-gitignore
"""


@cache
def output():
    Path("add.py").write_text("def add(a, b):\n    return a - b\n")
    server = ["--model", f"openai/{MODEL}", "--openai-api-base", BASE_URL, "--openai-api-key", API_KEY]
    command = [sys.executable, *COMMAND, *server, *OPTIONS.split(), "--message", TEXT, "add.py"]
    return subprocess.run(
        command, check=True, stdin=subprocess.DEVNULL, capture_output=True, text=True
    ).stdout


def stream():
    return [output()]


def usage():
    return [int(number) for number in re.search(r"Tokens: (\d+) sent, (\d+) received", output()).groups()]


report("aider", stream, usage)
