"""Generators of clients: tried where they can be installed; `make test` says so otherwise."""

from testkit.client_environments import available

ENVIRONMENTS = {"testkit-generators", "testkit-node"}
collect_ignore = [] if available() >= ENVIRONMENTS else ["test_generated_clients.py"]
