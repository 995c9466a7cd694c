# `make demo` and `make test` are all a newcomer needs: both set up .venv first.
# Any Python from 3.11 on; another one than the first found: make PYTHON=python3.13 ...
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
LISTS = $(basename $(wildcard tools/*.in bench/peers/*.in))
FOLDERS = $(patsubst %/__init__.py,%,$(wildcard */__init__.py))

.DEFAULT_GOAL := help
.PHONY: help setup native demo test nightly fuzz guided lint chaos bench bench-peers soak audit sbom contract docs lock clean focus-validate collector-kill collector-wheel collector-programs contracts marketplace-chaos

help: ## Show this list.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /make \1\t/' | expand -t 18

setup: $(VENV)/.installed ## Make .venv with Ratemill and everything it needs, exactly as locked.

$(VENV)/.installed: pyproject.toml requirements.lock
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	  || { echo "Ratemill needs Python 3.11 or newer, and found '$(PYTHON)'; install one, then: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@echo "installing into $(VENV): about a minute the first time"
	@"$(PYTHON)" -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@mkdir -p .typecheck/ratemill
	@for folder in $(FOLDERS); do ln -sfn ../../$$folder .typecheck/ratemill/$$folder; done
	@touch $@

demo: setup ## Start Kafka and Elasticsearch, rate real usage, show the live costs.
	$(BIN)/ratemill demo

native: setup ## Compile the hottest loops (needs a C compiler); everything works without, and gives the same bytes.
	@RATEMILL_NATIVE=1 $(BIN)/python setup.py --quiet build_ext --inplace --build-temp build/native
	@$(BIN)/python -c 'from ratemill.schemas.usage_event import hot; print("compiled loops are in use" if hot else "compiled loops are NOT in use")'

lint: setup ## Check style and types.
	$(BIN)/ruff check .
	$(BIN)/mypy

# Files in the order of the folders: the slow ones of tests/integration first, and many quick ones last, so that no process waits long for another.
# Many tests wait for a server, so a third process on two cores takes what the others leave; types are checked beside them, and said last.
test: setup ## Check style and types, and run every test on a real Kafka and Elasticsearch: JOBS=3 processes beside each other.
	$(BIN)/ruff check .
	@mkdir -p build; $(BIN)/mypy > build/mypy.txt 2>&1 & types=$$!; \
	  $(BIN)/python -m pytest -n $(or $(JOBS),3) --dist loadfile --no-loadscope-reorder; tests=$$?; \
	  wait $$types; types=$$?; echo "$(BIN)/mypy"; cat build/mypy.txt; [ $$tests = 0 ] && [ $$types = 0 ]

# Other cases every night; a failure says its seed.
nightly: setup ## Confluence and exact sums over 50,000 generated tariffs and histories: about half an hour.
	TESTS_CASES=$${TESTS_CASES:-50000} TESTS_SEED=$${TESTS_SEED:-$$(date +%Y%m%d)} $(BIN)/python -m pytest -q -rP tests/property/generated
	@$(MAKE) --no-print-directory fuzz guided

fuzz: setup ## A million inputs that are almost right, for every reader: INPUTS=n SEED=s [TARGETS="..."].
	@cd tests/fuzz && ../../$(BIN)/python -m fuzzing $(TARGETS) --inputs $(or $(INPUTS),1000000) $(if $(SEED),--seed $(SEED))

build/atheris/.installed: tests/fuzz/atheris.txt | setup
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade --target build/atheris --require-hashes -r $<
	@touch $@

guided: build/atheris/.installed ## Fuzzing that follows the code: RUNS=n inputs a target [TARGETS="..."]; Python 3.11 to 3.13.
	@cd tests/fuzz && for target in $(or $(TARGETS),$$(../../$(BIN)/python -m fuzzing --list)); do \
	  mkdir -p ../../build/fuzz && PYTHONPATH=../../build/atheris ../../$(BIN)/python -m fuzzing.guided $$target -runs=$(or $(RUNS),20000) -verbosity=0 \
	    ../../build/fuzz/guided/$$target > ../../build/fuzz/guided.log 2>&1 || { cat ../../build/fuzz/guided.log >&2; exit 1; }; \
	  echo "guided target=$$target runs=$(or $(RUNS),20000) kept=$$(ls ../../build/fuzz/guided/$$target | wc -l)"; \
	done

# The same seed has the same faults at the same times; how they fall into the work differs with the machine. First the reporter to marketplaces dies
# between its steps; the line that says what came of the workers stays the last.
chaos: setup ## Faults from a seed on real servers, then an oracle: make chaos SEED=7 [SECONDS=60] [BROKERS=3] [RUNS=30] [BREAK=no_dedupe].
	$(if $(BREAK),,@$(MAKE) --no-print-directory marketplace-chaos RUNS=50 SEED=$(or $(SEED),1))
	PYTHONPATH=tests:tests/integration $(BIN)/python -m chaos --seed $(or $(SEED),1) --seconds $(or $(SECONDS),60) \
	  --brokers $(or $(BROKERS),0) --runs $(or $(RUNS),1) $(foreach one,$(BREAK),--break $(one))

collector-kill: setup ## Kill a collector at random points while it publishes over Kafka and over HTTP: EVENTS=n KILLS=n SEED=s.
	@PYTHONPATH=tests:tests/integration $(BIN)/python -m harness.collecting --events $(or $(EVENTS),100000) --kills $(or $(KILLS),20) --seed $(or $(SEED),1)

collector-wheel: setup ## Build the SDK alone, ratemill-collector, into build/collector.
	@$(BIN)/python tools/collector/build.py

# What docs/collectors.md says of them was seen with these versions. Go looks each module up in its checksum database.
TELEGRAF := 1.39.0
TELEGRAF_PLUGINS := inputs.file,inputs.http_listener_v2,inputs.tail,outputs.http,outputs.kafka,parsers.influx,serializers.json
OTEL := 0.155.0
OTEL_STABLE := 1.61.0
OTEL_CORE := go.opentelemetry.io/collector
OTEL_CONTRIB := github.com/open-telemetry/opentelemetry-collector-contrib
PROGRAMS := build/collector-programs

$(PROGRAMS)/telegraf: Makefile
	@mkdir -p $(PROGRAMS)
	GOBIN=$(CURDIR)/$(PROGRAMS) CGO_ENABLED=0 go install -trimpath -tags custom,$(TELEGRAF_PLUGINS) \
	  -ldflags "-s -w -X github.com/influxdata/telegraf/internal.Version=$(TELEGRAF)" github.com/influxdata/telegraf/cmd/telegraf@v$(TELEGRAF)

$(PROGRAMS)/otelcol: tools/collector-programs/otelcol.go Makefile
	@rm -rf $(PROGRAMS)/otel && mkdir -p $(PROGRAMS)/otel && cp $< $(PROGRAMS)/otel
	cd $(PROGRAMS)/otel && go mod init otelcol && go get $(OTEL_CONTRIB)/exporter/kafkaexporter@v$(OTEL) \
	  $(OTEL_CONTRIB)/extension/storage/filestorage@v$(OTEL) $(OTEL_CONTRIB)/processor/transformprocessor@v$(OTEL) \
	  $(OTEL_CORE)/otelcol@v$(OTEL) $(OTEL_CORE)/service@v$(OTEL) $(OTEL_CORE)/receiver/otlpreceiver@v$(OTEL) \
	  $(OTEL_CORE)/confmap/provider/envprovider@v$(OTEL_STABLE) $(OTEL_CORE)/confmap/provider/fileprovider@v$(OTEL_STABLE)
	cd $(PROGRAMS)/otel && CGO_ENABLED=0 go build -mod=mod -trimpath -ldflags "-s -w -X main.version=$(OTEL)" -o ../otelcol .

collector-programs: $(PROGRAMS)/telegraf $(PROGRAMS)/otelcol ## Build Telegraf and an OpenTelemetry Collector for the tests of their configurations; needs Go 1.25.

marketplace-chaos: setup ## A reporter that dies anywhere against fake marketplaces: RUNS=n seeded runs, a table of what came of them, and real kills.
	cd tests && ../$(BIN)/python -m marketplaces --runs $(or $(RUNS),1000) --first $(or $(SEED),1)
	$(BIN)/python -m pytest -q tests/integration/test_marketplace_killed.py

bench: setup ## Measure events per CPU-second: one event a record beside the bare script, packed, through the hop; then the latency. ROUNDS=n (9).
	@$(MAKE) --no-print-directory native || echo "no compiler here: measured without the compiled loops" >&2
	$(BIN)/python -m ratemill.bench --only direct --script --rounds $(or $(ROUNDS),9)
	$(BIN)/python -m ratemill.bench --only direct --packed 200 --rounds $(or $(ROUNDS),9)
	$(BIN)/python -m ratemill.bench --only hop
	$(BIN)/python -m ratemill.bench --only latency

# Each peer has an environment of its own under build/peers.
bench-peers: setup ## Other systems on the same job, in the same run, checked by the same oracle: ROUNDS=n EVENTS=n ONLY=quix,bytewax.
	$(BIN)/python -m ratemill.bench.peers --rounds $(or $(ROUNDS),3) --events $(or $(EVENTS),1000000) $(if $(ONLY),--only $(ONLY))

# Others like it, for what happens at a limit: python -m ratemill.bench.overload, .outage, .restore (docs/limits.md).
soak: setup ## Half an hour of steady load: memory, file handles and RocksDB stay flat, nothing is lost.
	$(BIN)/python -m ratemill.bench.soak --minutes 30

# The tools of these two have an environment of their own, so that what is installed to run Ratemill stays small.
build/audit/.installed: tools/audit.lock
	@"$(PYTHON)" -m venv --clear build/audit
	@build/audit/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r tools/audit.lock
	@touch $@

audit: build/audit/.installed ## Look every pin up for known vulnerabilities.
	@build/audit/bin/python tools/audit.py

sbom: setup build/audit/.installed ## Write build/sbom.json: what Ratemill is made of (CycloneDX).
	@build/audit/bin/python tools/sbom.py

build/contract/.installed: tools/contract.lock
	@"$(PYTHON)" -m venv --clear build/contract
	@build/contract/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r tools/contract.lock
	@touch $@

contract: setup build/contract/.installed ## Requests made from the OpenAPI document against a running API: no 5xx, nothing undocumented: EXAMPLES=n SEED=s.
	$(BIN)/python tools/contract.py --examples $(or $(EXAMPLES),300) $(if $(SEED),--seed $(SEED))

build/docs/.installed: tools/docs.lock
	@"$(PYTHON)" -m venv --clear build/docs
	@build/docs/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r tools/docs.lock
	@touch $@

docs: build/docs/.installed ## The documentation as a site, in build/site; a link that leads nowhere is an error.
	@build/docs/bin/properdocs build --strict --config-file tools/site.yml
	@echo "build/site/index.html; or: build/docs/bin/properdocs serve --config-file tools/site.yml"

# The validator wants Python 3.12 or newer: make focus-validate FOCUS_PYTHON=/path/to/python3.12
FOCUS_PYTHON ?= $(shell for p in python3.12 python3.13 python3; do $$p -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null && echo $$p && break; done)
build/focus/.installed: tools/focus.lock
	@test -n "$(FOCUS_PYTHON)" || { echo "focus-validator needs Python 3.12 or newer: make focus-validate FOCUS_PYTHON=/path/to/python3.12" >&2; exit 1; }
	@"$(FOCUS_PYTHON)" -m venv --clear build/focus
	@build/focus/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r tools/focus.lock
	@touch $@

focus-validate: setup build/focus/.installed ## Real AWS rows as FOCUS files: our exact check, and the FOCUS project's validator.
	@$(BIN)/python tools/focus.py

contracts: setup ## Write docs/contracts: AsyncAPI and JSON Schemas of the public topics; RELEASE=1 also makes them the last release.
	$(BIN)/python tools/contracts.py $(if $(RELEASE),--release)

lock: ## Choose the newest versions that pyproject.toml allows, and write requirements.lock and docker/image.lock.
	$(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install --quiet uv
	@echo 'setuptools>=78' > build/lock/build.in
	@sed '/^[^#]/,$$d' requirements.lock > build/lock/header
	build/lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --upgrade --no-header --no-annotate \
	  --no-emit-index-url --extra test -o build/lock/body pyproject.toml build/lock/build.in
	@cat build/lock/header build/lock/body > requirements.lock
	@sed '/^[^#]/,$$d' docker/image.lock > build/lock/header
	@sed -n 's/^\([a-z0-9].*\) \\$$/\1/p' requirements.lock > build/lock/pins
	build/lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	  --no-emit-index-url --extra postgresql --extra aws --extra parquet --extra gcp --extra native --constraints build/lock/pins \
	  -o build/lock/body pyproject.toml build/lock/build.in
	@cat build/lock/header build/lock/body > docker/image.lock
	@for list in $(LISTS); do \
	  sed '/^[^#]/,$$d' $$list.lock > build/lock/header && \
	  case $$list in tools/focus) oldest=3.12;; *) oldest=3.11;; esac && \
	  build/lock/bin/uv pip compile --quiet --universal --python-version $$oldest --generate-hashes --upgrade --no-header --no-annotate \
	    --no-emit-index-url -o build/lock/body $$list.in && \
	  cat build/lock/header build/lock/body > $$list.lock || exit 1; \
	done

clean: ## Remove what setup and builds made.
	rm -rf $(VENV) .typecheck build *.egg-info
