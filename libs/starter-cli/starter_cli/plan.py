"""Which parts there are, how each is run, and what each needs before it can start."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from threading import Event

from sandbox.embedded import envoy_binary

from starter_cli import databases, environment, owner
from starter_cli.layout import CHECKOUT, SERVICES, Layout, service_folder
from starter_cli.parts import Daemon, Embedded, Part
from starter_cli.processes import Program
from starter_cli.steps import Step

# -P: no module is taken from the folder that a program happens to run in.
PYTHON = (sys.executable, "-P", "-m")
# About as fast as a model; slow enough for an eye to follow.
TOKENS_PER_SECOND = 80


@dataclass(frozen=True)
class Plan:
    """The parts of a stack, by what they are."""

    foundation: Sequence[Part]
    services: Mapping[str, Part]
    gateway: Part

    @property
    def layers(self) -> Sequence[Sequence[Part]]:
        """All of them: what a part needs for its work is in a layer before its own."""
        auth, chat = self.services["auth"], self.services["chat-agent"]
        between = [part for part in self.services.values() if part not in {auth, chat}]
        return [self.foundation, [auth], between, [chat], [self.gateway]]

    @property
    def parts(self) -> Sequence[Part]:
        """All of them."""
        return [*self.foundation, *self.services.values(), self.gateway]


def make(layout: Layout) -> Plan:
    """Plan a stack."""
    return Plan(
        foundation=[
            Embedded("postgres", layout.postgres),
            Embedded("valkey", layout.valkey),
            sandbox(layout),
        ],
        services={name: service(layout, name) for name in SERVICES},
        gateway=gateway(layout),
    )


def steps(plan: Plan, layout: Layout, cancelled: Event) -> Sequence[Step]:
    """List what is to be done, and what it needs to be done before."""
    first_tenant = f"{owner.TENANT}, {owner.EMAIL}"
    return [
        *(start(part, cancelled) for part in plan.foundation),
        Step("databases", partial(databases.prepare, layout, cancelled), "one a service", needs=["postgres"]),
        *(start(part, cancelled, "databases", "valkey") for part in plan.services.values()),
        Step("first tenant", partial(owner.ensure, layout, cancelled), first_tenant, needs=["databases"]),
        start(plan.gateway, cancelled, *SERVICES),
    ]


def start(part: Part, cancelled: Event, *needs: str) -> Step:
    """Make the step that starts a part."""
    return Step(part.name, partial(part.start, cancelled), part.address, needs)


def sandbox(layout: Layout) -> Daemon:
    """Describe the outside world on this machine: a model, and the inbox of its mail."""
    program = Program(
        name="sandbox",
        argv=[*PYTHON, "sandbox.main", *sandbox_options(layout)],
        cwd=CHECKOUT,
        environment=environment.python(),
        log=layout.folders.log("sandbox"),
    )
    return Daemon(program, layout.sandbox_url, f"{layout.sandbox_url}/healthz")


def sandbox_options(layout: Layout) -> Sequence[str]:
    """Choose how the sandbox behaves."""
    return [
        *("--port", str(layout.ports["sandbox"])),
        *("--data", str(layout.folders.mails)),
        *("--tokens-per-second", str(TOKENS_PER_SECOND)),
    ]


def service(layout: Layout, name: str) -> Daemon:
    """Describe one of our services; it is ready when all that it needs answers."""
    program = Program(
        name=name,
        argv=[*PYTHON, f"{SERVICES[name]}.main"],
        cwd=service_folder(name),
        environment=environment.of_service(layout, name),
        log=layout.folders.log(name),
    )
    return Daemon(program, layout.url(name), f"{layout.url(f'{name}-internal')}/readyz")


def gateway(layout: Layout) -> Daemon:
    """Describe Envoy, with the configuration that it has everywhere."""
    program = Program(
        name="gateway",
        argv=["/bin/sh", CHECKOUT / "deploy" / "gateway" / "start.sh"],
        cwd=layout.folders.root,
        environment=environment.of_gateway(layout, str(envoy_binary())),
        log=layout.folders.log("gateway"),
    )
    return Daemon(program, layout.gateway_url, f"{layout.url('gateway-admin')}/ready")
