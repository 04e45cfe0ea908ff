"""What to try next, ready to be copied."""

import json
from collections.abc import Sequence

from rich.console import Console

from starter_cli import billing, environment, owner, runner, variables
from starter_cli.paths import CHECKOUT, Layout
from starter_cli.progress import print_line
from starter_cli.stack import Stack

JSON = "-H 'Content-Type: application/json'"
BEARER = '-H "Authorization: Bearer $TOKEN"'
# Sets TOKEN and TENANT from the answer to a sign-in.
READ_SESSION = 'import json, sys; print("TOKEN=%(access_token)s TENANT=%(tenant_id)s" % json.load(sys.stdin))'


def print_hints(stack: Stack, console: Console) -> None:
    """Print where everything is, and commands that can be copied as they stand."""
    lines = ["", *locations(stack.layout)]
    for line in [*lines, "", "Try, in another terminal:", "", *commands(stack), ""]:
        print_line(console, line)


def locations(layout: Layout) -> list[str]:
    """Return where everything is."""
    owner_of_demo = owner.first_owner(layout)
    return [
        f"gateway   {layout.gateway_url}  (a demo, in a browser)",
        f"sign in   {owner_of_demo.email}  {owner_of_demo.password}",
        f"inbox     {layout.inbox_url}  (the mail to whoever registers)",
        f"sandbox   {layout.sandbox_url}  (what stands in for the outside, such as Stripe)",
        f"docs      {CHECKOUT / 'README.md'}; of the API: {layout.gateway_url}/docs",
        f"logs      {layout.data_dir.logs}",
        f"stop      {runner.stop_command(layout.data_dir)}",
    ]


def commands(stack: Stack) -> list[str]:
    """Return commands that sign in, stream an answer, and read what was kept and counted."""
    api = f"{stack.gateway_url}/api/v1"
    credentials = json.dumps({"email": stack.owner.email, "password": stack.owner.password})
    message = json.dumps({"message": "Which is larger, 9.11 or 9.9?"})
    tenant = f"{api}/billing/tenants/$TENANT"
    entitlements = [f"curl -s {tenant}/entitlements {BEARER}"] if billing.is_enabled(stack.layout) else []
    return [
        f"eval \"$(curl -s {api}/auth/token {JSON} -d '{credentials}' | python3 -c '{READ_SESSION}')\"",
        f"curl -sN {api}/chat/stream {BEARER} {JSON} -d '{message}'",
        f"curl -s {api}/conversations {BEARER}",
        f"curl -s {tenant}/usage {BEARER}",
        *entitlements,
    ]


def print_model_source(layout: Layout, console: Console) -> None:
    """Print whether a model answers, or the script that stands in for one."""
    if not environment.has_real_model():
        print_line(
            console,
            "Answers come from a scripted stand-in, not from a model; with OPENAI_API_KEY set, or"
            " OPENAI_BASE_URL and AGENT_MODEL_DEFAULT, from a real one.",
            "yellow",
        )
        return
    variables_of_chat = environment.for_service(layout, "chat-agent")
    url = variables_of_chat.get("OPENAI_BASE_URL", "https://api.openai.com/v1")
    model = variables_of_chat.get(
        "AGENT_MODEL_DEFAULT", "the default model; AGENT_MODEL_DEFAULT chooses another"
    )
    protocol = variables_of_chat.get("OPENAI_API", "responses")
    print_line(console, f"Answers come from {url} ({model}), over OpenAI's {protocol} API.")


def print_unused_variables(layout: Layout, in_file: Sequence[str], console: Console) -> None:
    """Print which of the caller's variables are not used."""
    overruled, unknown = variables.unused(environment.for_all(layout), in_file)
    if overruled:
        names = ", ".join(overruled)
        print_line(console, f"Not used here, because this stack has its own: {names}.", "yellow")
    if unknown:
        print_line(console, f"In .env, but no component reads it: {', '.join(unknown)}.", "yellow")
