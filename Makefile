# The front door. `make` alone lists what there is.
.DEFAULT_GOAL := help
.PHONY: help run setup lock check lint types lock-check contracts contracts-check samples samples-check manifests test images

PYTHON ?= python3
BIN := .venv/bin
MEMBERS := libs/servicekit libs/sandbox libs/testkit libs/starter-cli \
	services/auth services/conversation services/chat-agent services/billing-webhook services/notification
PACKAGES := $(notdir $(patsubst %/__init__.py,%,$(wildcard libs/*/*/__init__.py services/*/*/__init__.py)))
PROJECTS := $(MEMBERS:%=%/pyproject.toml)
# Certificates come from the operating system, so that a company's own authority is trusted too.
export UV_SYSTEM_CERTS := 1
# A home that cannot be written to is no reason not to run.
ifneq ($(shell test -w "$$HOME" && echo yes),yes)
export UV_CACHE_DIR := $(CURDIR)/.acme/uv-cache
endif

##@ Run
run: setup ## Start everything on this machine and hold one conversation (ONCE=1: stop after it)
	@$(BIN)/python -m starter_cli.app start $(if $(ONCE),--once)

##@ Work on it
setup: .venv/.ready ## Install what is needed into .venv

.venv/.ready: requirements.lock $(PROJECTS) pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Acme needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Set PYTHON=/path/to/python3.11.")'
	@echo "Installing into .venv (a minute the first time) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(sed -n 's/^\(uv==[^ ;]*\).*/\1/p' requirements.lock)"
	@$(BIN)/uv pip sync --quiet --require-hashes requirements.lock
	@$(BIN)/uv pip install --quiet --no-deps $(MEMBERS:%=-e %)
	@touch $@

lock: setup ## Renew requirements.lock from every member's pyproject.toml (UP=1: newest versions)
	@$(BIN)/python scripts/lock.py $(if $(UP),--upgrade)

##@ Check it
test: setup ## Run every test on real Postgres, Redis and Envoy (S=auth: one member)
	@command -v node >/dev/null && command -v npm >/dev/null || echo "clients in JavaScript: not tested, there is no node here"
	@$(BIN)/python -m pytest $(if $(S),$(wildcard libs/$(S) services/$(S))) --numprocesses 2 --dist loadgroup --no-skips

check: lint types lock-check contracts-check samples-check ## All that needs no server: lint, types, lock, contracts, sample secrets

lint: setup ## Ruff: style and formatting
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: setup ## Mypy, strict
	@$(BIN)/mypy --no-error-summary $(PACKAGES:%=-p %)

lock-check: setup ## Fail when requirements.lock does not match the members
	@$(BIN)/python scripts/lock.py --check

contracts-check: setup ## Fail when a contract is stale, or breaks one that was given
	@$(BIN)/python scripts/contracts.py --check && $(BIN)/python scripts/permissions.py --check

samples-check: setup ## Fail when the list of sample secrets, which production refuses, is stale
	@$(BIN)/python scripts/sample_secrets.py --check

##@ Publish
contracts: setup ## Write every service's OpenAPI and event schemas, docs/asyncapi.json and docs/permissions.md
	@$(BIN)/python scripts/contracts.py && $(BIN)/python scripts/permissions.py

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
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST); echo
