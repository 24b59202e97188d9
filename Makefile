# The targets that pre-commit and CI call.
.PHONY: lint types test

lint:
	ruff format --check .
	ruff check .

types:
	mypy

test:
	pytest
