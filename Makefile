# The front door. `make` alone lists what there is.
.DEFAULT_GOAL := help
.PHONY: help run stop status setup migration lock check lint types lock-check contracts contracts-check samples samples-check manifests test images \
	stripe-setup stripe-replay lint-stripe-fixtures test-stripe

PYTHON ?= python3
# Of `make test`: two for each core, since a test often waits for a server; each takes about a gigabyte.
WORKERS ?= $(shell cores=$$(getconf _NPROCESSORS_ONLN); echo $$((cores < 4 ? 2 * cores : 8)))
BIN := .venv/bin
MEMBERS := libs/servicekit libs/sandbox libs/testkit libs/starter-cli libs/client-python libs/evals \
	services/auth services/conversation services/chat-agent services/billing-webhook services/notification
PACKAGES := $(notdir $(patsubst %/__init__.py,%,$(wildcard libs/*/*/__init__.py services/*/*/__init__.py)))
PROJECTS := $(MEMBERS:%=%/pyproject.toml)
# Compiled modules are stored, whatever the shell says: a process of a service starts in a third of the time.
unexport PYTHONDONTWRITEBYTECODE
# Certificates come from the operating system, so that a company's own authority is trusted too.
export UV_SYSTEM_CERTS := 1
# A home that cannot be written to is no reason not to run.
ifneq ($(shell test -w "$$HOME" && echo yes),yes)
export UV_CACHE_DIR := $(CURDIR)/.acme/uv-cache
endif

# An environment that was copied or moved with its folder runs the code of the place that it came from, and one
# whose Python is gone runs nothing: both are made anew.
ifneq ($(shell [ "$$(cat .venv/.ready 2>&1)" = "$(CURDIR)" ] && $(BIN)/python -c '' 2>&1 && echo ready),ready)
.PHONY: .venv/.ready
endif
FITS := $(BIN)/python -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && grep -qF "$(CURDIR)/.venv" $(BIN)/activate

# $(call step,WHAT,COMMAND): say what is done, and show that it goes on.
define step
@printf '%s ' "$(1)"; ($(2)) & pid=$$!; trap 'kill $$pid' INT TERM; \
	while kill -0 $$pid 2>/dev/null; do printf .; sleep 0.5; done; wait $$pid && echo ' done'
endef

##@ Run
run: setup ## Start everything on this machine and hold one conversation (ONCE=1: stop after it)
	@$(BIN)/python -m starter_cli.app start $(if $(ONCE),--once)

stop: setup ## Stop what `make run` started, from another terminal
	@$(BIN)/python -m starter_cli.app stop

status: setup ## Show what of it answers, the inbox and the sign-in
	@$(BIN)/python -m starter_cli.app status

##@ Work on it
setup: .venv/.ready ## Install what is needed into .venv, or repair it

.venv/.ready: requirements.lock $(PROJECTS) pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Acme needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Set PYTHON=/path/to/python3.11.")'
	@if [ -e .venv ] && ! { $(FITS); }; then \
		echo "Making .venv anew: it was made for another folder, has no pip, or its Python is gone."; fi
	@{ $(FITS); } || $(PYTHON) -m venv --clear .venv
	$(call step,Installing the installer (uv),$(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(sed -n 's/^\(uv==[^ ;]*\).*/\1/p' requirements.lock)")
	$(call step,Installing packages (a minute the first time),$(BIN)/uv pip sync --quiet --require-hashes requirements.lock)
	$(call step,Installing Acme,$(BIN)/uv pip install --quiet --no-deps $(MEMBERS:%=-e %))
	@printf '%s' "$(CURDIR)" > $@

lock: setup ## Renew requirements.lock from every member's pyproject.toml (UP=1: newest versions)
	@$(BIN)/python scripts/lock.py $(if $(UP),--upgrade)

migration: setup ## Write a service's next migration from its models (S=conversation m="add a note")
	@test -n "$(S)" -a -n "$(m)" || { echo 'Name the service and what changes: make migration S=conversation m="add a note"'; exit 2; }
	@$(BIN)/python scripts/migration.py "$(S)" "$(m)"

##@ Check it
test: setup ## Run every test on real Postgres, Redis and Envoy (S=auth: one member; CHANGED=1: what a change touches)
	@command -v node >/dev/null && command -v npm >/dev/null || echo "clients in JavaScript: not tested, there is no node here"
	@PATH="$$PATH:/usr/sbin" command -v pgbouncer >/dev/null || echo "PgBouncer: not tested, it is not installed here"
	@tests="$(if $(S),$(wildcard libs/$(S) services/$(S)))"; \
	if [ -n "$(CHANGED)" ]; then tests=$$($(BIN)/python scripts/changed_tests.py $(CHANGED)); \
		[ -n "$$tests" ] || { echo "Nothing has changed since then."; exit 0; }; echo "Testing" $$tests; fi; \
	export MISSING_CLIENTS="$$($(BIN)/python -m testkit.client_environments $$tests)"; \
	$(BIN)/python -m pytest $$tests --numprocesses $(WORKERS) --dist loadgroup --no-loadscope-reorder --no-skips

check: lint types lock-check contracts-check samples-check ## All that needs no server: lint, types, lock, contracts, sample secrets

lint: setup ## Ruff: style and formatting; import-linter: imports run one way
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@$(BIN)/lint-imports --no-logo --no-cache >/dev/null || $(BIN)/lint-imports --no-logo --no-cache

types: setup ## Mypy, strict
	@$(BIN)/mypy --no-error-summary $(PACKAGES:%=-p %)

lock-check: setup ## Fail when requirements.lock does not match the members
	@$(BIN)/python scripts/lock.py --check

contracts-check: setup ## Fail when a contract is stale, or breaks one that was given
	@$(BIN)/python -m scripts.documents --check

samples-check: setup ## Fail when the list of sample secrets, which production refuses, is stale
	@$(BIN)/python scripts/sample_secrets.py --check

##@ Stripe
stripe-setup: setup ## Create products, prices, meters, portal and webhook at Stripe, and write the variables (args="--webhook-url https://…")
	@$(BIN)/python -m starter_cli.app stripe setup $(args)

stripe-replay: setup ## List or replay events of the running stack (args="list --handler billing_sync --status failed")
	@$(BIN)/python -m starter_cli.app stripe dispatches $(args)

lint-stripe-fixtures: setup ## Check the recorded events
	@$(BIN)/python -m billing_webhook stripe dispatches validate-fixtures $(or $(args),services/billing-webhook/tests/fixtures/stripe)

test-stripe: lint-stripe-fixtures ## Send the recorded events through the webhook, its handlers and the stream
	@$(BIN)/python -m pytest -q services/billing-webhook/tests/test_stripe_fixtures.py $(args)

##@ Publish
contracts: setup ## Write every service's OpenAPI and event schemas, docs/asyncapi.json, permissions.md, errors.md and billing/events.md, and the synchronous Python client
	@$(BIN)/python -m scripts.documents

samples: setup ## Write the list of sample secrets, which production refuses
	@$(BIN)/python scripts/sample_secrets.py

manifests: setup ## Render the Kubernetes overlays and validate them, offline (needs kubectl)
	@for overlay in k8s/overlays/*; do \
		kubectl kustomize $$overlay > .acme-manifests.yaml && \
		$(BIN)/kubernetes-validate --strict --quiet -k 1.36 .acme-manifests.yaml && echo "$$overlay is valid"; \
		status=$$?; rm -f .acme-manifests.yaml; [ $$status = 0 ] || exit 1; done

images: ## Build every service's image (needs Docker)
	@docker compose build

help:
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*## / {printf "  make %-20s %s\n", $$1, $$2}' $(MAKEFILE_LIST); echo
