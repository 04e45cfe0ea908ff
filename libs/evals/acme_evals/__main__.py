"""`python -m acme_evals`: the same as `acme evals`."""

from acme_evals.cli import app

app(prog_name="acme-evals")
