"""ShellGPT's command."""

import os
import subprocess
import sys
from pathlib import Path

from report import BASE_URL, MODEL, TEXT, report

COMMAND = [Path(__file__).with_name("start.py"), Path(sys.executable).with_name("sgpt")]
SETTINGS = {
    "API_BASE_URL": BASE_URL,
    "DEFAULT_MODEL": MODEL,
    "OPENAI_USE_FUNCTIONS": "false",
    "USE_LITELLM": "false",
}


def stream():
    command = [sys.executable, *COMMAND, "--no-md", "--no-cache", TEXT]
    variables = {**os.environ, **SETTINGS}
    done = subprocess.run(
        command, check=True, env=variables, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    return [done.stdout]


report("ShellGPT", stream)
