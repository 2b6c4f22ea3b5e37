#!/usr/bin/env bash
# Sets up, builds everything and runs every test. Ends with a line of counts. Arguments go to ctest, for example
#   ci/test.sh -R '^judge'      only tests whose name begins so
source "$(dirname "$0")/setup.sh"
build all
log=build/test.log
code=0
ctest --test-dir build --output-on-failure --parallel "${RINGPROOF_JOBS:-$(nproc)}" --output-junit "$PWD/build/tests.xml" "$@" \
  >"$log" 2>&1 || code=$?
# Passing tests are only counted; everything else is shown.
grep -vE '^ *[0-9]+/[0-9]+ Test +#.*Passed|^ *Start +[0-9]+:' "$log" | sed '/^Internal ctest/d' || true
build/venv/bin/python ci/count_tests.py build/tests.xml || code=1
exit "$code"
