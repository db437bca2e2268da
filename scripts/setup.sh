#!/usr/bin/env bash
# Set up all that the workflow, the demo and the tests need: .venv beside this project, GDAL's programs, and Chromium.
# Safe to run again: when nothing changed it ends in well under a second and needs no network.
#   PYTHON             the interpreter (default python3; 3.11 or newer)
#   RTS_TORCH_BACKEND  cpu, cu126, ...: take torch from the index of that backend (smaller; not hash-locked)
#   RTS_BROWSER        no: without Chromium
#   RTS_QGIS           yes: PyQGIS too (900 MB), for the tests of the QGIS package
set -euo pipefail
cd "$(dirname "$0")/.."

python=${PYTHON:-python3}
venv=.venv
lock=requirements.txt
stamp=$venv/.set-up-for

say() { printf 'setup: %s\n' "$*" >&2; }
fail() { say "$*"; exit 2; }

install_packages() {
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "$("$python" -V 2>&1): expected Python 3.11 or newer; set PYTHON=/path/to/python3.11"
  say "packages into $venv (6.7 GB with torch's CUDA libraries, half a minute to some minutes)"
  [ -x $venv/bin/uv ] || "$python" -m venv --clear $venv || fail "no virtual environment; on Debian: apt-get install python3-venv"
  local versions=$venv/versions.txt
  sed -n 's/^\([A-Za-z0-9._-]*==[^ ;\\]*\).*/\1/p' $lock >$versions
  [ -x $venv/bin/uv ] || $venv/bin/python -m pip install --quiet --disable-pip-version-check -c $versions uv
  local uv="$venv/bin/uv pip" into="--quiet --python $venv/bin/python --compile-bytecode"
  if [ -n "${RTS_TORCH_BACKEND:-}" ]; then
    $uv install $into --torch-backend "$RTS_TORCH_BACKEND" -r $versions
  else
    $uv sync $into --require-hashes $lock
  fi
  # editable, with the locked build backend: fetches nothing
  $uv install $into --no-deps --no-build-isolation --editable .
}

can_install() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; }

from_apt() {
  say "$1 from apt"
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$1"; } >&2
}

install_gdal_programs() {
  can_install ||
    fail "gdaldem, gdalbuildvrt and gdalinfo are not on the PATH; install them: conda install -c conda-forge libgdal-core gdal, or as root apt-get install gdal-bin"
  from_apt gdal-bin || fail "apt-get could not install gdal-bin"
}

wanted=$(cat $lock pyproject.toml <(printf '%s\n' "$("$python" -VV)" "$PWD" "${RTS_TORCH_BACKEND:-}") | sha256sum | cut -d ' ' -f 1)
if [ "$(cat $stamp 2>/dev/null)" != "$wanted" ]; then
  install_packages
  echo "$wanted" >$stamp
fi
for program in gdaldem gdalbuildvrt gdalinfo; do
  command -v $program >/dev/null || { install_gdal_programs; break; }
done
# the tests of the review page drive it; nothing else needs a browser on this machine
if [ "${RTS_BROWSER:-yes}" != no ] && ! command -v chromium >/dev/null; then
  { can_install && from_apt chromium; } || say "chromium is not on the PATH: the tests of the review page will fail"
fi
if [ "${RTS_QGIS:-no}" = yes ] && ! /usr/bin/python3 -c 'import qgis.core' 2>/dev/null; then
  { can_install && from_apt python3-qgis; } || fail "no PyQGIS; as root: apt-get install python3-qgis"
fi
