"""The caller's variables, from the environment and from `.env`: which component reads which."""

import ast
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

from dotenv import dotenv_values

from starter_cli.paths import CHECKOUT, SERVICES, service_dir

GATEWAY_SCRIPT = CHECKOUT / "deploy" / "gateway" / "start.sh"
COMMON_SETTINGS = CHECKOUT / "libs" / "servicekit" / "servicekit" / "settings.py"
# What the runner itself, or every program, reads.
MACHINE = ("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR")
TLS = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
TELEMETRY = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_HEADERS")
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")
# Settings of tools in packages of one's own begin with it.
TOOL_PREFIX = "TOOL_"
RUNNER = ("GATEWAY_PORT", "ONCE", "ACME_DATA", *MACHINE, *TLS, *TELEMETRY, *PROXIES)


def load(file: Path = CHECKOUT / ".env") -> Sequence[str]:
    """Put the variables of a file into this process's environment, which wins; return the file's names."""
    values = {name: value for name, value in dotenv_values(file).items() if value}
    for name, value in values.items():
        if not os.environ.get(name):
            os.environ[name] = value
    return list(values)


def non_empty(*names: str) -> dict[str, str]:
    """Return those of the variables that are set to something."""
    return {name: os.environ[name] for name in names if os.environ.get(name)}


@cache
def names_read_by(component: str) -> frozenset[str]:
    """Name the variables that a service, or the gateway, reads."""
    if component == "gateway":
        return frozenset(re.findall(r"(?:\bfill |\$\{)([A-Z][A-Z0-9_]+)", GATEWAY_SCRIPT.read_text()))
    own = service_dir(component) / SERVICES[component] / "settings.py"
    tools = own.with_name("tool_settings.py")
    files = (COMMON_SETTINGS, own, *([tools] if tools.is_file() else []))
    return frozenset(name.upper() for file in files for name in settings_fields(file))


def settings_fields(file: Path) -> Iterator[str]:
    """List the fields of the settings in a file and in those of its package that it imports settings from.

    Libraries import no service, so they are read, not run.
    """
    for statement in ast.parse(file.read_text()).body:
        if isinstance(statement, ast.ImportFrom) and any(is_settings(each.name) for each in statement.names):
            module = file.parents[1].joinpath(*(statement.module or "").split(".")).with_suffix(".py")
            if module.is_file():
                yield from settings_fields(module)
        if isinstance(statement, ast.ClassDef) and is_settings(statement.name):
            for line in statement.body:
                if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
                    yield line.target.id


def is_settings(name: str) -> bool:
    """Return whether a class has settings."""
    return name.endswith("Settings")


def overrides_for(component: str) -> dict[str, str]:
    """Return what the caller has set of the variables that a component reads."""
    of_tools = (
        [name for name in os.environ if name.startswith(TOOL_PREFIX)] if component == "chat-agent" else []
    )
    return non_empty(*names_read_by(component), *of_tools)


def unused(
    environments: Mapping[str, Mapping[str, str]], in_file: Sequence[str]
) -> tuple[list[str], list[str]]:
    """Return the caller's variables that no component receives as set, and those that none reads.

    `environments` holds the variables of each component; `in_file` are the names in `.env`.
    """
    read = {name for component in environments for name in overrides_for(component)}
    overridden = [
        name
        for name in sorted(read - set(RUNNER))
        if all(environment.get(name) != os.environ[name] for environment in environments.values())
    ]
    return overridden, sorted(set(in_file) - read - set(RUNNER))
