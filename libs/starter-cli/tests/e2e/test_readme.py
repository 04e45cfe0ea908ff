"""What the README says to type, typed."""

import itertools
import os
import re
import shlex
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from starter_cli.stack import Stack

ROOT = Path(__file__).resolve().parents[4]
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("*/*/README.md")])
# One that is marked `run` works as it stands while a stack runs.
BLOCK = re.compile(r"^```sh(?: run)?\n(.*?)^```", re.MULTILINE | re.DOTALL)
RUNNABLE = re.compile(r"^```sh run\n(.*?)^```", re.MULTILINE | re.DOTALL)
MODULE = re.compile(r"python -m ((?:auth|conversation|chat_agent|billing_webhook|notification)\.\w+)")
PROGRAMS = Path(sys.executable).parent
TARGET = re.compile(r"^make ([a-z][a-z-]*)", re.MULTILINE)
CODE = re.compile(r"^```.*?^```|`[^`\n]+`", re.MULTILINE | re.DOTALL)
SCRIPT = re.compile(r"\bpython (?:-m )?(scripts[/.]\S+.*)$", re.MULTILINE)
LINK = re.compile(r"\]\((?!http)([^)#\s]+)")


def blocks(page: Path) -> list[str]:
    return BLOCK.findall(page.read_text())


def test_the_commands_of_the_readme_do_what_it_says(stack: Stack) -> None:
    [talk] = [block for block in blocks(ROOT / "README.md") if "chat/stream" in block]
    output = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", talk.replace("http://localhost:8000", stack.gateway_url)],
        env={**os.environ, "EMAIL": stack.owner.email, "PASSWORD": stack.owner.password},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout
    assert "event: tool.called" in output
    assert "event: run.completed" in output
    assert '"handoff_occurred":false' in output
    assert '"object":"chat.completion"' in output
    assert "What time is it in Vienna?" in output.rpartition('"items":')[2]
    assert '"code":"starter"' in output
    [result] = set(re.findall(r'"output":"(\d{4}-[^"]+)"', output))
    there = datetime.now(ZoneInfo("Europe/Vienna"))
    assert datetime.fromisoformat(result).utcoffset() == there.utcoffset()


COMMANDS = sorted(
    {
        line
        for page in PAGES
        for block in RUNNABLE.findall(page.read_text())
        for line in block.splitlines()
        if line and not line.startswith("#")
    }
)


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_that_is_marked_works_at_the_stack_that_runs(stack: Stack, line: str) -> None:
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", line.replace(".venv/bin/", f"{PROGRAMS}/")],
        cwd=ROOT,
        env={**os.environ, "ACME_DATA": str(stack.data_dir.root)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout


MODULES = sorted({module for page in PAGES for module in MODULE.findall(page.read_text())})
# They take no options, and stay.
SERVERS = ("main", "worker")


def run_as_service(stack: Stack, package: str, *arguments: str) -> None:
    done = subprocess.run(
        [PROGRAMS / "acme", "exec", package.replace("_", "-"), "--", "python", *arguments],
        env={**os.environ, "ACME_DATA": str(stack.data_dir.root)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("package", sorted({module.partition(".")[0] for module in MODULES}))
def test_the_programs_that_a_page_names_run_as_their_service(stack: Stack, package: str) -> None:
    modules = [module for module in MODULES if module.startswith(f"{package}.")]
    servers = [module for module in modules if module.endswith(SERVERS)]
    if servers:
        run_as_service(stack, package, "-c", f"import {', '.join(servers)}")
    for module in set(modules) - set(servers):
        run_as_service(stack, package, "-m", module, "--help")


SCRIPTS = sorted({line for page in PAGES for block in blocks(page) for line in SCRIPT.findall(block)})


@pytest.mark.parametrize("line", SCRIPTS)
def test_a_script_takes_what_a_page_says_to_type(line: str) -> None:
    script, *words = shlex.split(line, comments=True)
    command = [
        sys.executable,
        *([script] if script.endswith(".py") else ["-m", script]),
        *itertools.takewhile(lambda word: word[0] != "-", words),
        "--help",
    ]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True).stdout
    assert {word for word in words if word.startswith("--")} <= set(re.findall(r"--[a-z-]+", printed))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_target_and_link_that_a_page_names_is_there(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(TARGET.findall("\n".join(re.findall(r"`([^`]+)`", page.read_text()) + blocks(page))))
    assert named <= targets
    for link in LINK.findall(CODE.sub("", page.read_text())):
        assert (page.parent / link).exists(), link
