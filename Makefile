# make demo   a simulated corridor, from delivered images to the reviewed inventory
# make test   the tests that are not slow
# make lint   all static checks
# make docs   the documentation as a site, results/site/index.html
# make bench  what each stage costs against area and limit
# make faults kills, full disks, broken inputs at every stage
SHELL := bash
export PATH := $(CURDIR)/.venv/bin:$(PATH)
# as in learning/__init__.py, for tests that import torch themselves
export GOMP_SPINCOUNT := 100000
WORKERS ?= auto

.PHONY: setup demo demo-small test test-slow test-qgis test-slurm faults bench lint digests config page pictures docs lock

setup:
	@scripts/setup.sh

demo: setup
	rts-pipeline demo

demo-small: setup
	rts-pipeline demo --small

test: setup
	pytest -n $(WORKERS) -m "not slow"

test-slow: setup
	pytest -n $(WORKERS) -m "slow and not slurm"

# 20 kills and 20 full disks a stage, broken inputs of every sort, whole runs (as root: it makes a small disk); an hour and a half
faults: setup
	RTS_FAULT_SEEDS=20 pytest -n 0 tests/faults/test_faults_stages.py -k "killed or full"
	RTS_FAULT_SEEDS=3 pytest -n 0 tests/faults/test_faults_stages.py -k "not (killed or full)"
	RTS_FAULT_SEEDS=3 pytest -n 0 tests/faults/test_faults_runs.py

# the package for QGIS and the published formats in QGIS itself (as root, once: 900 MB from apt)
test-qgis:
	@RTS_QGIS=yes scripts/setup.sh
	pytest -n $(WORKERS) -m slow tests/test_review_package.py tests/test_export_formats.py

# a real SLURM on this machine (as root, once: scripts/slurm.sh install)
test-slurm: setup
	pytest -n 0 -m slurm tests/test_slurm.py

# 25 minutes on two cores that do nothing else
bench: setup
	python bench/area.py

lint: setup
	ruff check
	ruff format --check
	mypy
	snakefmt --check Snakefile workflow
	scripts/lint_workflow.sh

docs: setup
	NO_MKDOCS_2_WARNING=1 mkdocs build --strict --quiet

# after a change that can't alter results (a test names the stages)
digests: setup
	python -m rts_pipeline.stages

# after a change of the configuration's model or of the data dictionary
config: setup
	rts-pipeline config > config/config.yaml
	sed '/^| key/,$$d' config/README.md > config/README.md.new
	rts-pipeline config --reference >> config/README.md.new
	mv config/README.md.new config/README.md
	sed '/^| column/,$$d' docs/attributes.md > docs/attributes.md.new
	python -m rts_pipeline.inventory.dictionary >> docs/attributes.md.new
	mv docs/attributes.md.new docs/attributes.md

# after a change in web/ or of the reviewers' guideline: the built page and the report's map are part of the package (needs npm)
page:
	cd web && npm ci --no-audit && npm run build

# after a change of the page's look (needs make demo): those of docs/review-page.md
pictures: setup
	python scripts/review_pictures.py
