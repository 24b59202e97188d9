# lint and types are what pre-commit and CI call; CI tests by the README's command.
.PHONY: lint types test

lint:
	ruff format --check .
	ruff check .

types:
	mypy

test:
	pytest -n auto
