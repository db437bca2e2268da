#!/usr/bin/env bash
# snakemake --lint needs a project whose inputs exist: a small simulated one.
set -euo pipefail
cd "$(dirname "$0")/.."
RTS_TEST_CASE=$(mktemp -d)
export RTS_TEST_CASE
trap 'rm -rf "$RTS_TEST_CASE"' EXIT
rts-pipeline simulate "$RTS_TEST_CASE/corridor" --width-km 3 --height-km 3 --slumps 8
snakemake --lint --configfile tests/config.yaml
