# What can be done here. `make` alone lists it.

CARGO ?= cargo

.DEFAULT_GOAL := help
.PHONY: help run demo test test-all test-api test-dashboard test-chart test-observability chart dashboard-images lint bench redis chromium

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-20s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# The development profile: it builds in a fraction of the time, and is fast enough to try things out.
run: redis ## Start one node in development settings, prove a delivery, print lines to paste
	$(CARGO) build --locked
	@exec $(CARGO) run --locked --quiet -- serve --development --config config/development.toml

demo: redis ## Three nodes, a thousand events, one node killed in the middle: count what was lost
	$(CARGO) build --locked
	@exec $(CARGO) run --locked --quiet -- demo

test: redis ## Run every test that needs nothing but Rust and redis-server
	$(CARGO) test --locked --all-targets

test-all: test chromium test-observability ## Run every test, with foreign verifiers, schemathesis, a browser, Prometheus and the chart (their tools under target/tools)
	tests/foreign/run.sh
	tests/schemathesis/run.sh
	tests/browser/run.sh
	tests/dashboard/run.sh
	tests/chart/run.sh

test-api: redis chromium ## Hold a running node to its OpenAPI document, and open its page in a browser (their tools under target/tools, chromium by apt)
	tests/schemathesis/run.sh
	tests/browser/run.sh

test-dashboard: redis chromium ## Use the dashboard in a browser: every flow, attacks, accessibility (its tools under target/tools, chromium by apt)
	tests/dashboard/run.sh

test-chart: redis ## Check the Helm chart and the image without a cluster (as root; installs its tools under target/tools)
	tests/chart/run.sh

chart: ## Carry config/default.toml into the chart's values, schema and README
	scripts/chart-values

dashboard-images: redis chromium ## Take the pictures of the dashboard's pages anew (docs/images)
	tests/dashboard/run.sh --images

test-observability: redis ## Dashboards, alerts and numbers on a real Prometheus (unpacks it under target/tools)
	tests/observability/run.sh

lint: ## Check the format, the lints and the documentation
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps --document-private-items

bench: ## Measure; needs benches
	@ls benches/*.rs >/dev/null 2>&1 || { echo "there is nothing to measure yet: benches/ holds no benchmark" >&2; exit 1; }
	$(CARGO) bench --locked

redis:
	@scripts/require-redis

chromium:
	@scripts/require-chromium
