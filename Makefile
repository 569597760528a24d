# Two commands for a newcomer: `make run` and `make test`. The rest is for those who change scenepipe.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TEXT ?= Почему я не чувствую шаг в себе?

.PHONY: run test lint bench soak clean

run: $(VENV)/.run
	@$(BIN)/scenepipe run pipelines/quickstart.yaml "$(TEXT)"

test: $(VENV)/.test lint
	$(BIN)/scenepipe model pull gemma-3-270m
	$(BIN)/python -m pytest -q

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.test
	$(BIN)/pip install --quiet -c constraints.txt -r benchmarks/requirements.txt
	for b in benchmarks/[a-z]*.py; do $(BIN)/python $$b || exit 1; done

soak: $(VENV)/.test
	SCENEPIPE_SOAK=200 $(BIN)/python -m pytest -q -k "kill or two_writers"

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[local]"
	@touch $@

$(VENV)/.test: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[dev,train]"
	@touch $@ $(VENV)/.run

clean:
	rm -rf $(VENV) build dist *.egg-info
