"""Which parts there are, how each is run, and what each needs before it can start."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from threading import Event

from sandbox.embedded import envoy_binary

from starter_cli import databases, environment, owner
from starter_cli.components import Daemon, Embedded, Part
from starter_cli.paths import CHECKOUT, SERVICES, Layout, service_folder
from starter_cli.processes import Program
from starter_cli.startup import Step

# -P: no module is taken from the folder that a program happens to run in.
PYTHON = (sys.executable, "-P", "-m")


@dataclass(frozen=True)
class Plan:
    """The parts of a stack, by what they are."""

    foundation: Sequence[Part]
    services: Mapping[str, Sequence[Part]]
    gateway: Part

    @property
    def layers(self) -> Sequence[Sequence[Part]]:
        """All of them: what a part needs for its work is in a layer before its own."""
        auth, chat = self.services["auth"], self.services["chat-agent"]
        between = [part for parts in self.services.values() if parts not in (auth, chat) for part in parts]
        return [self.foundation, auth, between, chat, [self.gateway]]

    @property
    def parts(self) -> Sequence[Part]:
        """All of them."""
        return [*self.foundation, *self.replicas, self.gateway]

    @property
    def replicas(self) -> Sequence[Part]:
        """Those that are services of ours."""
        return [part for parts in self.services.values() for part in parts]


def make(layout: Layout) -> Plan:
    """Plan a stack."""
    return Plan(
        foundation=[
            Embedded("postgres", layout.postgres),
            Embedded("valkey", layout.valkey),
            sandbox(layout),
        ],
        services={
            name: [service(layout, replica) for replica, its in layout.replicas.items() if its == name]
            for name in SERVICES
        },
        gateway=gateway(layout),
    )


def steps(plan: Plan, layout: Layout, cancelled: Event) -> Sequence[Step]:
    """List what is to be done, and what it needs to be done before."""
    first_tenant = f"{owner.TENANT}, {owner.EMAIL}"
    return [
        *(start(part, cancelled) for part in plan.foundation),
        Step("databases", partial(databases.prepare, layout, cancelled), "one a service", needs=["postgres"]),
        *(start(part, cancelled, "databases", "valkey") for part in plan.replicas),
        Step("first tenant", partial(owner.ensure, layout, cancelled), first_tenant, needs=["databases"]),
        start(plan.gateway, cancelled, *(part.name for part in plan.replicas)),
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
        *("--gateway", layout.gateway_url),
        *("--tokens-per-second", str(layout.tokens_per_second)),
    ]


def service(layout: Layout, replica: str) -> Daemon:
    """Describe a replica of one of our services; it is ready when all that it needs answers."""
    name = layout.replicas[replica]
    program = Program(
        name=replica,
        argv=[*PYTHON, f"{SERVICES[name]}.main"],
        cwd=service_folder(name),
        environment=environment.of_service(layout, replica),
        log=layout.folders.log(replica),
    )
    return Daemon(program, layout.url(replica), f"{layout.url(f'{replica}-internal')}/readyz")


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
