# `make quickstart` and `make test` do everything from nothing: virtual environment included.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: quickstart test test-all lint format clean

$(VENV)/installed: setup.py
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'medmt5 needs Python 3.11 or newer; call make PYTHON=python3.11')"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e ".[data,test]"
	touch $@

quickstart: $(VENV)/installed
	$(BIN)/medmt5 quickstart

test: $(VENV)/installed
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow"

test-all: $(VENV)/installed
	$(BIN)/python -m pytest

lint: $(VENV)/installed
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

format: $(VENV)/installed
	$(BIN)/ruff check --fix . && $(BIN)/ruff format .

clean:
	rm -rf $(VENV) runs build dist *.egg-info .pytest_cache
