#!/usr/bin/env bash
# Sets up, builds the command and judges the built-in candidates on real activations and the fast cases.
#   ci/gate.sh                          the fast tier, report in build/report
#   ci/gate.sh --tier full              more Cases
#   ci/gate.sh --candidate ring:double --topology zigzag8
# Every argument goes to `ringproof gate` (build/bin/ringproof gate --help). Exit code: 0 accepted, 1 rejected, 2 bad input,
# 3 inconclusive, 4 too many refusals.
caller=$PWD
root=$(cd "$(dirname "$0")/.." && pwd)
source "$root/ci/setup.sh"
build ringproof
# Paths in the arguments are the caller's.
cd "$caller"
report=$root/build/report
[ "$caller" != "$root" ] || report=build/report
for argument in "$@"; do
  case "$argument" in -h | --help) exec "$root/build/bin/ringproof" gate --help ;; esac
done
code=0
"$root/build/bin/ringproof" gate --out "$report" "$@" || code=$?
[ "$code" -eq 2 ] && exit 2
# A crash of the command itself is inconclusive.
[ "$code" -le 4 ] || code=3
# The page needs what the run left; a later --out of the user's wins over ours.
while [ $# -gt 0 ]; do
  case "$1" in
    --out) report="$2" ;;
    --out=*) report="${1#--out=}" ;;
  esac
  shift
done
"$root/build/venv/bin/python" "$root/reports/render.py" "$report" || { [ "$code" -ne 0 ] || code=3; }
exit "$code"
