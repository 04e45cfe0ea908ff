"""What to try next, ready to be copied."""

import json
from collections.abc import Sequence

from rich.console import Console

from starter_cli import environment, owner, runner, variables
from starter_cli.paths import CHECKOUT, Layout
from starter_cli.progress import say
from starter_cli.stack import Stack

JSON = "-H 'Content-Type: application/json'"
BEARER = '-H "Authorization: Bearer $TOKEN"'
# Sets TOKEN and TENANT from the answer to a sign-in.
READ_SESSION = 'import json, sys; print("TOKEN=%(access_token)s TENANT=%(tenant_id)s" % json.load(sys.stdin))'


def show(stack: Stack, console: Console) -> None:
    """Print where everything is, and commands that can be copied as they stand."""
    where = ["", *places(stack.layout)]
    for line in [*where, "", "Try, in another terminal:", "", *commands(stack), ""]:
        say(console, line)


def places(layout: Layout) -> list[str]:
    """Say where everything is."""
    first = owner.of(layout)
    return [
        f"gateway   {layout.gateway_url}",
        f"sign in   {first.email}  {first.password}",
        f"inbox     {layout.inbox_url}  (the mail to whoever registers)",
        f"docs      {CHECKOUT / 'README.md'}; of the API: {layout.gateway_url}/docs/chat-agent",
        f"logs      {layout.folders.logs}",
        f"stop      {runner.stop_command(layout.folders)}",
    ]


def commands(stack: Stack) -> list[str]:
    """Give commands that sign in, stream an answer, and read what was kept and counted."""
    api = f"{stack.gateway_url}/api/v1"
    credentials = json.dumps({"email": stack.owner.email, "password": stack.owner.password})
    message = json.dumps({"message": "Which is larger, 9.11 or 9.9?"})
    return [
        f"eval \"$(curl -s {api}/auth/token {JSON} -d '{credentials}' | python3 -c '{READ_SESSION}')\"",
        f"curl -sN {api}/chat/stream {BEARER} {JSON} -d '{message}'",
        f"curl -s {api}/conversations {BEARER}",
        f"curl -s {api}/billing/tenants/$TENANT/usage {BEARER}",
    ]


def who_answers(layout: Layout, console: Console) -> None:
    """Say plainly whether a model answers, or the script that stands in for one."""
    if not environment.has_real_model():
        say(
            console,
            "Answers come from a scripted stand-in, not from a model; with OPENAI_API_KEY set, or"
            " OPENAI_BASE_URL and AGENT_MODEL_DEFAULT, from a real one.",
            "yellow",
        )
        return
    told = environment.of_service(layout, "chat-agent")
    address = told.get("OPENAI_BASE_URL", "https://api.openai.com/v1")
    model = told.get("AGENT_MODEL_DEFAULT", "the default model; AGENT_MODEL_DEFAULT chooses another")
    protocol = told.get("OPENAI_API", "responses")
    say(console, f"Answers come from {address} ({model}), over OpenAI's {protocol} API.")


def unused_variables(layout: Layout, in_file: Sequence[str], console: Console) -> None:
    """Say which of the caller's variables are not used."""
    overruled, unknown = variables.unused(environment.of_all(layout), in_file)
    if overruled:
        names = ", ".join(overruled)
        say(console, f"Not used here, because this stack has its own: {names}.", "yellow")
    if unknown:
        say(console, f"In .env, but no part reads it: {', '.join(unknown)}.", "yellow")
