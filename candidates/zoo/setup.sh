#!/usr/bin/env bash
# Makes build/zoo, a virtual environment with the libraries that the full tier judges (2.5 GB), PyTorch with stubs in the
# place of its CUDA packages. Does nothing that is already done.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

venv=build/zoo
here=candidates/zoo
cat "$here"/*.txt | cmp -s - "$venv/made_from.txt" && exit
echo "zoo: making $venv"
rm -rf "$venv"
python3 -m venv "$venv"
pip=("$venv/bin/pip" install --quiet --disable-pip-version-check)
"${pip[@]}" -r "$here/requirements.txt"
"${pip[@]}" --no-deps -r "$here/without_dependencies.txt"
lib=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/torch/lib
"$venv/bin/python" "$here/stub_libraries.py" "$lib"
"$venv/bin/python" -c 'import torch, jax; print("zoo: torch", torch.__version__, "and jax", jax.__version__, "import")'
cat "$here"/*.txt >"$venv/made_from.txt"
