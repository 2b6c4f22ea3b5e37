"""Times PyTorch's attention on the inputs of a folder, one JSON line per library behind it.

    gpu_sdpa.py FOLDER       reads problem.json, q.bin, k.bin, v.bin; leaves out_NAME.bin

Called by ringproof_cuda_bench, which judges what is left there. Times are between CUDA events, L2
flushed before each call, as the bench times our kernels. Without PyTorch it says so in a line.
"""

import json
import pathlib
import sys

FLUSH_BYTES = 256 << 20
DTYPES = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}


def say(**line):
    print(json.dumps({"peer": True, **line}), flush=True)


def time_calls(torch, call, problem):
    """(times in ms, the last call's output)."""
    flush = torch.empty(FLUSH_BYTES, dtype=torch.uint8, device="cuda")
    times, out = [], None
    for i in range(problem["warm_up"] + problem["samples"]):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        flush.fill_(i % 256)
        begin.record()
        out = call()
        end.record()
        end.synchronize()
        if i >= problem["warm_up"]:
            times.append(begin.elapsed_time(end))
    return times, out


def main(folder):
    problem = json.loads((folder / "problem.json").read_text())
    try:
        import torch
        from torch.nn.attention import SDPBackend, sdpa_kernel
        from torch.nn.functional import scaled_dot_product_attention
    except ImportError as error:
        return say(kernel="torch", outcome="not run", sentence=f"no PyTorch here ({error})")
    is_causal = problem["mask"] == "causal_top_left"
    if problem["mask"] not in ("full", "causal_top_left") or problem["dtype"] not in DTYPES:
        return say(
            kernel="torch", outcome="not run", sentence="not a problem for PyTorch's attention"
        )

    def load(name):
        data = bytearray((folder / f"{name}.bin").read_bytes())
        flat = torch.frombuffer(data, dtype=getattr(torch, DTYPES[problem["dtype"]]))
        return flat.reshape(problem[f"shape_{name}"]).cuda()

    q, k, v = load("q"), load("k"), load("v")
    groups = q.shape[1] // k.shape[1]
    for library in (SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION):
        name = f"torch {torch.__version__} {library.name}"

        def call(keys, values, grouped):
            with sdpa_kernel(library):
                return scaled_dot_product_attention(
                    q,
                    keys,
                    values,
                    is_causal=is_causal,
                    scale=problem["softmax_scale"],
                    **({"enable_gqa": True} if grouped else {}),
                )

        try:
            try:
                call(k, v, groups > 1)
                times, out = time_calls(torch, lambda: call(k, v, groups > 1), problem)
                heads = "grouped"
            except RuntimeError:  # not every library takes grouped heads
                keys, values = (t.repeat_interleave(groups, dim=1) for t in (k, v))
                times, out = time_calls(torch, lambda: call(keys, values, False), problem)
                heads = "repeated before the call"
        except RuntimeError as error:
            say(kernel=name, outcome="not run", sentence=str(error).splitlines()[0])
            continue
        path = folder / f"out_{library.name}.bin"
        path.write_bytes(out.contiguous().cpu().view(torch.uint8).numpy().tobytes())
        say(
            kernel=name,
            event_ms=times,
            kv_heads=heads,
            cudnn=torch.backends.cudnn.version(),
            out=str(path),
        )


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1])))
