#!/usr/bin/env bash
# Renew requirements.txt from pyproject.toml: exact versions with hashes, naming no index.
set -euo pipefail
cd "$(dirname "$0")/.."
.venv/bin/uv pip compile pyproject.toml --group dev --quiet --generate-hashes --no-emit-index-url --no-annotate \
  --python-version 3.11 --custom-compile-command scripts/lock.sh --output-file requirements.txt "$@"
