#!/usr/bin/env bash
# Everything a GPU has to say about this build, in one go: whether the host runtime tells the truth about it, the gate on
# the CUDA candidates, compute-sanitizer, rings over NCCL with several processes on the one GPU,
# benchmarks. Needs a build (made here or carried here), python3 and a driver; installs nothing, says of every missing
# tool that it is missing, ends within 9 minutes.
#   ci/gpu.sh                             the build in build/, the record to build/gpu_record.json
#   ci/gpu.sh --build DIR --out FILE      another build, another place
#   ci/gpu.sh --carry DIR                 only install the build into DIR, with libraries; there DIR/share/ringproof/gpu.sh
# Exit codes: 0 accepted, or nothing could run (the last line says which), 1 rejected, 2 bad usage, 3 inconclusive.
command -v python3 >/dev/null || { echo "gpu: this machine has no python3; it is all that is needed" >&2; exit 2; }
exec python3 "$(dirname "$0")/gpu.py" "$@"
