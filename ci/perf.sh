#!/usr/bin/env bash
# Compares the speed of two commits on this machine: ci/perf.sh BASE HEAD (build/venv/bin/python ci/perf/perf.py --help).
# --validate judges the comparison itself (validate.py), --ci is what continuous integration asks (gate.py).
caller=$PWD
root=$(cd "$(dirname "$0")/.." && pwd)
source "$root/ci/setup.sh"
cd "$caller"
script=perf
case ${1-} in
  --validate) script=validate; shift ;;
  --ci) script=gate; shift ;;
esac
exec "$root/build/venv/bin/python" "$root/ci/perf/$script.py" "$@"
