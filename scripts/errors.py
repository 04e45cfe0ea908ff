"""Write docs/errors.md: the code, status and meaning of every error that a service answers with.

The rows are the subclasses of `ServiceError` in servicekit and in every service, and the codes of tool calls.
"""

import argparse
import pkgutil
import sys
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path

from chat_agent.runs.tool_errors import MESSAGES
from servicekit.errors import ServiceError
from testkit.contract_documents import services

PAGE = Path(__file__).resolve().parent.parent / "docs" / "errors.md"
INTRODUCTION = """\
# Errors

An error is a problem document (RFC 9457, `application/problem+json`): `type` (`urn:acme:<code>`), `title`,
`status`, `detail`, `code` and `request_id`. Clients decide by `code`; `detail` is for people and may
change. 429 and 503 say in `Retry-After` when to try again.

Written by `make contracts` from the subclasses of `ServiceError`.
"""
TOOL_CALLS = """\
## Calls of tools

`error` of a call in `GET /api/v1/runs/{id}/tool-calls`; the message is its `error_detail`.
The call fails, and its run goes on, unless a guardrail ends it.

| code | message |
|---|---|"""
GENERAL = ServiceError.__module__
# Answered by the framework's handlers in `servicekit.errors`, not raised as a `ServiceError`.
FRAMEWORK = (
    ("internal_error", 500, "The service failed; the log has the reason under the same request id."),
    ("invalid_request", 422, "The request does not fit the document of the route; `errors` lists where."),
    ("method_not_allowed", 405, "The route does not have this method."),
)


def page() -> str:
    """Return the whole page (Markdown)."""
    for package in ("servicekit", *map(package_of, services())):
        import_all(package)
    lines = [INTRODUCTION, "## Every service", "", *table([*rows("servicekit"), *FRAMEWORK])]
    for service in services():
        if own := [*rows(package_of(service))]:
            lines += ["", f"## {service}", "", *table(own)]
    codes = [f"| `{code}` | {message} |" for code, message in sorted(MESSAGES.items())]
    lines += ["", TOOL_CALLS, *codes]
    return "\n".join([*lines, ""])


def package_of(service: str) -> str:
    """Return the name of a service's package."""
    return service.replace("-", "_")


def import_all(package: str) -> None:
    """Import every module of a package, so that all of its classes exist."""
    for module in pkgutil.walk_packages(import_module(package).__path__, f"{package}."):
        if not module.name.endswith("__main__"):
            import_module(module.name)


def rows(package: str) -> Iterator[tuple[str, int, str]]:
    """Return code, status and detail, or else docstring, of each error that a package defines."""
    for error in subclasses(ServiceError):
        if error.__module__.partition(".")[0] == package and is_raised(error):
            detail = vars(error).get("default_detail") or (error.__doc__ or "").strip().splitlines()[0]
            yield error.code(), int(error.status), detail


def is_raised(error: type[ServiceError]) -> bool:
    """Return whether an error is more than a base of others."""
    return not error.__subclasses__() or "default_detail" in vars(error) or error.__module__ == GENERAL


def subclasses(error: type[ServiceError]) -> Iterator[type[ServiceError]]:
    """Return all subclasses of an error, direct and indirect."""
    for one in error.__subclasses__():
        yield one
        yield from subclasses(one)


def table(errors: Sequence[tuple[str, int, str]]) -> Iterator[str]:
    """Write errors as a table, by their codes."""
    yield "| code | status | meaning |"
    yield "|---|---|---|"
    for code, status, meaning in sorted(set(errors)):
        yield f"| `{code}` | {status} | {meaning} |"


def main(words: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 when the page is stale")
    if not parser.parse_args(words).check:
        PAGE.write_text(page())
    elif not PAGE.exists() or PAGE.read_text() != page():
        sys.exit("docs/errors.md does not match the code. Run make contracts.")


if __name__ == "__main__":
    main()
