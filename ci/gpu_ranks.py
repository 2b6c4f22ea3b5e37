#!/usr/bin/env python3
"""Starts P processes of one command as the ranks of an NCCL job on GPU 0.

    gpu_ranks.py [--switch] P COMMAND...

NCCL refuses two ranks on one GPU: every process gets an NCCL_HOSTID of its own, as if it were a
machine, and sockets over the loopback device join them. With --switch, NCCL (2.30 and later) is
told that ranks share a GPU instead. Slow, time-sliced, but NCCL itself.

Rank 0's output is passed on; of the others, what they say on stderr. The exit code is rank 0's, or
another's where rank 0 ended well and that one did not. Once a rank has failed, the others get some
seconds to report, then they are killed; none is left behind. Needs Python 3.9 and nothing else.
"""
import os
import signal
import socket
import subprocess
import sys
import time

SECONDS_TO_REPORT = 20


def free_port():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


def environment_of(rank, count, port, switch):
    shared = {"NCCL_MULTI_RANK_GPU_ENABLE": "1"} if switch else {"NCCL_HOSTID": f"rank{rank}"}
    return {
        **os.environ,
        "RANK": str(rank),
        "WORLD_SIZE": str(count),
        "LOCAL_RANK": "0",  # all on GPU 0
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "NCCL_SOCKET_IFNAME": "lo",
        "NCCL_NET": "Socket",
        "NCCL_IB_DISABLE": "1",
        "NCCL_NVLS_ENABLE": "0",
        "NCCL_MAX_CTAS": "1",
        **shared,
    }


def run(count, command, switch):
    port = free_port()
    ranks = [
        subprocess.Popen(
            command,
            env=environment_of(rank, count, port, switch),
            stdout=None if rank == 0 else subprocess.DEVNULL,
        )
        for rank in range(count)
    ]

    def end(*_):
        for one in ranks:
            if one.poll() is None:
                one.kill()

    signal.signal(signal.SIGTERM, lambda *_: (end(), sys.exit(3)))
    until = None
    try:
        while any(one.poll() is None for one in ranks):
            if until is None and any(one.poll() for one in ranks):
                until = time.monotonic() + SECONDS_TO_REPORT
            if until is not None and time.monotonic() > until:
                break
            time.sleep(0.02)
    finally:
        end()
    codes = [one.wait() for one in ranks]
    for rank, code in enumerate(codes):
        if code:
            print(f"rank {rank} ended with {code}", flush=True)
    return next((code if code > 0 else 3 for code in codes if code), 0)


def main():
    arguments = sys.argv[1:]
    switch = arguments[:1] == ["--switch"]
    arguments = arguments[switch:]
    if len(arguments) < 2 or not arguments[0].isdigit() or int(arguments[0]) < 1:
        print("gpu_ranks: want [--switch] P COMMAND...", file=sys.stderr)
        return 2
    return run(int(arguments[0]), arguments[1:], switch)


if __name__ == "__main__":
    sys.exit(main())
