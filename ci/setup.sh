#!/usr/bin/env bash
# Installs what the build needs on a fresh Debian or Ubuntu machine: packages through apt (as root or with sudo), Python
# packages into build/venv. Does nothing that is already done. Sourced and called by gate.sh and test.sh.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

packages=(g++ cmake ninja-build python3 python3-venv git libgtest-dev librapidcheck-dev libbenchmark-dev libcli11-dev
  nlohmann-json3-dev libfmt-dev libboost-context-dev libhwy-dev libdw-dev libopenmpi-dev openmpi-bin
  libsimgrid-dev valgrind)

stop() {
  echo "setup: $1" >&2
  exit 2
}

install_packages() {
  command -v dpkg-query >/dev/null || stop "this machine has no dpkg; install by hand: ${packages[*]}"
  local missing=() package
  for package in "${packages[@]}"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return
  echo "setup: installing ${missing[*]}"
  local as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || stop "neither root nor sudo; ask an administrator to install: ${missing[*]}"
    as_root=(sudo)
  fi
  export DEBIAN_FRONTEND=noninteractive
  local log
  log=$(mktemp)
  { "${as_root[@]}" apt-get update -qq && "${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}"; } \
    >"$log" 2>&1 || { tail -n 5 "$log" >&2; stop "apt could not install: ${missing[*]}"; }
  rm -f "$log"
}

# The stamp is the requirements file itself: another one makes the environment anew.
install_python_packages() {
  local venv=build/venv
  cmp -s ci/requirements.txt "$venv/requirements.txt" && return
  echo "setup: making $venv"
  rm -rf "$venv"
  python3 -m venv "$venv" || stop "python3 -m venv failed; install python3-venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check -r ci/requirements.txt || stop "pip could not install ci/requirements.txt"
  cp ci/requirements.txt "$venv/requirements.txt"
}

# build TARGET...: configures when needed and builds the targets given.
build() {
  local log=build/configure.log
  if [ ! -f build/build.ninja ]; then
    cmake --preset ci >"$log" 2>&1 || { tail -n 30 "$log" >&2; stop "cmake failed; the whole log is in $log"; }
    sed -n '/^-- Ringproof/,$p' "$log" | sed 's/^-- //'
  fi
  # What a compiler cache keeps for one clone, or one commit, serves the others.
  export CCACHE_BASEDIR=${CCACHE_BASEDIR-$PWD} CCACHE_NOHASHDIR=${CCACHE_NOHASHDIR-1}
  # Two compilers at most: each takes up to 1 GiB.
  cmake --build build --parallel "${RINGPROOF_JOBS:-$(nproc)}" --target "$@" || stop "the build failed"
}

mkdir -p build
install_packages
install_python_packages
