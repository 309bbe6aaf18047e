.DEFAULT_GOAL := help
.PHONY: help setup demo test lint format constraints system

# A sourced ROS 2 would be mixed with the ROS wheels of .venv.
unexport PYTHONPATH AMENT_PREFIX_PATH CMAKE_PREFIX_PATH _ROS_WHEELS_BOOTSTRAP_COMPLETE
# LeRobot imports 4,000 modules: 14 s in every process that may not keep them compiled, 8 s otherwise.
unexport PYTHONDONTWRITEBYTECODE

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

setup: ## make .venv with all packages and messages; quick when it is there
	@scripts/setup

demo: setup ## the whole graph with the stand-in camera; ARGS="..." for mask2iv demo
	.venv/bin/mask2iv demo $(ARGS)

test: setup ## the test suite; ARGS="..." for pytest
	.venv/bin/python -m pytest $(ARGS)

lint: setup ## what CI holds against the code's form
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

format: setup ## mend what lint finds, as far as ruff can
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

constraints: ## resolve constraints.txt anew, keeping the pins that still fit; ARGS=--upgrade for newer ones
	.venv/bin/python scripts/build_requirements | .venv/bin/uv pip compile --quiet --python-version 3.12 --all-extras \
		--no-annotate --no-header --no-emit-index-url $(ARGS) --output-file constraints.txt pyproject.toml -

system: ## apt-get install what set-up, demo and tests need of Debian or Ubuntu (as root)
	apt-get update
	apt-get install --yes --no-install-recommends g++ libegl1 libegl-mesa0 libgl1-mesa-dri ffmpeg
