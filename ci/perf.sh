#!/usr/bin/env bash
# Compares the speed of two commits on this machine: ci/perf.sh BASE HEAD (build/venv/bin/python ci/perf/perf.py --help).
caller=$PWD
root=$(cd "$(dirname "$0")/.." && pwd)
source "$root/ci/setup.sh"
cd "$caller"
exec "$root/build/venv/bin/python" "$root/ci/perf/perf.py" "$@"
