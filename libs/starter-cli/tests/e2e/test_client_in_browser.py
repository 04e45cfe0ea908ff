"""The client library for TypeScript in a real browser, whose tabs share a session."""

from pathlib import Path

from starter_cli.stack import Stack
from testkit.node_scripts import open_client_in_tabs


def test_tabs_renew_and_end_their_session_together(stack: Stack, typescript_folder: Path) -> None:
    package = typescript_folder / "node_modules" / "@acme" / "client"
    owner = stack.owner
    seen = open_client_in_tabs(stack.gateway_url, owner.email, owner.password, package / "dist")
    assert len(seen["listed"]) == 2
    assert seen["refreshes"] == 1
    assert (seen["types"][0], seen["types"][-1]) == ("run.started", "run.completed")
    assert seen["after"] == "SignedOut"
