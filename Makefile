BIN ?= .venv-test/bin
PACKAGES = pipeline stages weights
SOURCES = $(PACKAGES) tests bench

.PHONY: check test test-all test-cluster test-live test-triton parity typing-links

check: typing-links  ## lint, formatting and strict types
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy $(PACKAGES)

test:  ## the default tests
	$(BIN)/pytest

test-all:  ## with the slow ones
	$(BIN)/pytest -m "not weights and not browser and not cluster"

test-live:  ## the live page in Chromium and the window under Xvfb; Debian's apt-get installs both
	command -v chromium && command -v Xvfb || \
	  $$(command -v sudo) apt-get install -y --no-install-recommends chromium xvfb
	$(BIN)/pip install --quiet -e '.[dev,virtualcam]'
	$(BIN)/pytest -m browser tests/pipeline/live

test-cluster:  ## batches on a local Ray cluster and a local S3 server; minutes
	$(BIN)/pip install --quiet -e '.[dev,training,cluster-test]'
	$(BIN)/pytest -m cluster tests/pipeline/batch

test-triton:  ## the GPU's march in Triton's interpreter, and compiled for an H100 or H200; Linux
	$(BIN)/pip install --quiet -e '.[dev,training,gpu-test]'
	$(BIN)/python bench/compile_march.py
	$(BIN)/pytest -m "slow or not slow" tests/stages/networks/test_gpu_march.py
	TRITON_INTERPRET=1 $(BIN)/pytest -m "slow or not slow" tests/stages/networks/test_gpu_march.py

parity:  ## every golden vector of the published networks
	$(BIN)/python -m tpvideo.weights.parity ../shared/parity
	$(BIN)/python -m tpvideo.weights.parity ../shared/parity --compiled

# mypy cannot follow setuptools' editable finder; links show it where the packages are.
typing-links:
	mkdir -p .typing/tpvideo
	for part in $(PACKAGES); do ln -sfn ../../$$part .typing/tpvideo/$$part; done
	for file in __init__.py __main__.py py.typed; do ln -sfn ../../pipeline/_root/$$file .typing/tpvideo/$$file; done
