#!/usr/bin/env python3
"""Holds what every CUDA kernel takes of the GPU to the record in kernel_resources.json.

    kernel_resources.py BUILD_FOLDER            checks; exit code 1 with a sentence per fault
    kernel_resources.py BUILD_FOLDER --record   writes the record anew from this build

The table is rebuilt from what ptxas said when the objects of BUILD_FOLDER were compiled
(keep_ptxas_log.py) and from the launches that ringproof_cuda_launches lists (no GPU needed). A
kernel may take what is recorded plus 5 %; none may spill a register, but for those that the record
names under "spilling" with the reason (shown at every run); one that is not recorded, or is
recorded and no longer there, is a fault. Another nvcc counts otherwise: then nothing can be
held, and exit code 77 (CTest: skipped) says so. Needs Python's standard library and c++filt.
"""
import argparse
import json
import pathlib
import re
import subprocess
import sys

RECORD = pathlib.Path(__file__).resolve().parent / "kernel_resources.json"
ALLOWED = 1.05
HELD = ("registers", "stack_bytes", "spill_bytes", "shared_bytes_static", "shared_bytes_dynamic")
EXIT_SKIPPED = 77
SECONDS_MAX = 720
# What a block may have at most (CUDA C++ Programming Guide, technical specifications).
REGISTERS_MAX = 65536
SHARED_BYTES_MAX = {"sm_80": 163 * 1024, "sm_90a": 227 * 1024}


def parse_ptxas(text):
    """{(function, architecture): numbers} of one compilation, functions by their mangled names."""
    table, target, function, is_entry = {}, None, None, set()
    for line in text.splitlines():
        if entry := re.search(r"Compiling entry function '(\S+)' for '(\S+)'", line):
            function, target = entry.groups()
            is_entry.add((function, target))
        elif properties := re.search(r"Function properties for '?([^\s']+)", line):
            function = properties[1]
        elif stack := re.search(
            r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", line
        ):
            frame, stores, loads = map(int, stack.groups())
            row = table.setdefault((function, target), {"registers": 0, "shared_bytes_static": 0})
            row.update(stack_bytes=frame, spill_bytes=stores + loads)
        elif used := re.search(r"Used (\d+) registers", line):
            shared = re.search(r"(\d+)(?:\+(\d+))? bytes smem", line)
            row = table[(function, target)]
            row["registers"] = int(used[1])
            row["shared_bytes_static"] = sum(int(n) for n in shared.groups() if n) if shared else 0
    return {key: {**row, "is_kernel": key in is_entry} for key, row in table.items()}


def readable(names):
    """Demangled, without namespaces and parameters: `flash_forward_fp32_kernel<64>`."""
    if not names:
        return {}
    done = subprocess.run(
        ["c++filt"], input="\n".join(names), text=True, capture_output=True, check=True
    )
    short = {}
    for name, plain in zip(names, done.stdout.splitlines()):
        plain = plain.split(" [clone", 1)[0].removeprefix("void ")
        plain = (
            plain.replace("(anonymous namespace)::", "").split("(", 1)[0] if "(" in plain else plain
        )
        short[name] = re.sub(r"\bringproof::|\bon_cuda::", "", plain)
    return short


def objects_of(build):
    """The objects of the CUDA library, as they were built last, with what ptxas said of each."""
    commands = json.loads((build / "compile_commands.json").read_text())
    outputs = [
        re.search(r" -o (\S*ringproof_gpu_cuda\.dir/\S+\.cu\.o)", entry["command"])
        for entry in commands
    ]
    logs = {build / found[1]: build / f"{found[1]}.ptxas" for found in outputs if found}
    for path, log in logs.items():
        if not log.is_file():
            sys.exit(
                f"kernel_resources: {log} is missing; delete {path} and build ringproof_gpu_cuda"
            )
    return logs


def launches_of(build):
    """{mangled kernel: (most dynamic shared memory, most threads of a block)}."""
    program = build / "bin" / "ringproof_cuda_launches"
    if not program.is_file():
        sys.exit(f"kernel_resources: {program} is missing; build ringproof_cuda_launches")
    done = subprocess.run([str(program)], text=True, capture_output=True, check=False)
    if done.returncode != 0:
        sys.exit(f"kernel_resources: {program} failed: {done.stderr.strip()}")
    largest = {}
    for line in done.stdout.splitlines():
        launch = json.loads(line)
        shared, threads = largest.get(launch["kernel"], (0, 0))
        largest[launch["kernel"]] = (
            max(shared, launch["shared_bytes_dynamic"]),
            max(threads, launch["threads"]),
        )
    return largest


def measure(build, launches):
    """{kernel: {architecture: numbers}}, and sentences about kernels that no launch was seen of."""
    rows = {}
    for log in objects_of(build).values():
        rows.update(parse_ptxas(log.read_text()))
    short = readable(sorted({name for name, _ in rows}))
    table, unseen = {}, set()
    for (name, target), row in sorted(
        rows.items(), key=lambda item: (short[item[0][0]], item[0][1])
    ):
        if row.pop("is_kernel"):
            if name not in launches:
                unseen.add(short[name])
            row["shared_bytes_dynamic"], row["threads"] = launches.get(name, (0, 0))
        table.setdefault(short[name], {})[target] = row
    return table, [
        f"{name}: no launch of it was seen; cuda_launches.cpp has to ask for a problem "
        "that starts it, or the kernel is dead"
        for name in sorted(unseen)
    ]


def too_large(where, target, got):
    """Sentences about what no block can have."""
    registers = -(-got["registers"] // 8) * 8 * got.get("threads", 0)
    if registers > REGISTERS_MAX:
        yield f"{where} needs {registers} registers a block and can have {REGISTERS_MAX}"
    shared = got["shared_bytes_static"] + got.get("shared_bytes_dynamic", 0)
    if shared > SHARED_BYTES_MAX.get(target, shared):
        most = SHARED_BYTES_MAX[target]
        yield f"{where} needs {shared} bytes of shared memory and can have {most}"


def compare(record, table, again, spilling):
    """Yields one sentence per fault. Spills of kernels named in `spilling` may not grow."""
    for kernel, targets in table.items():
        for target, got in targets.items():
            where = f"{kernel} for {target}"
            why = spilling.get(kernel.split("<")[0])
            if got["spill_bytes"] != 0 and why is None:
                yield f"{where} spills {got['spill_bytes']} bytes of registers; none may"
            yield from too_large(where, target, got)
            want = record.get(kernel, {}).get(target)
            if want is None:
                yield f"{where} is not recorded; look at it, then record it: {again}"
                continue
            for quantity in HELD:
                if not got.get(quantity, 0) <= ALLOWED * want.get(quantity, 0):
                    yield (
                        f"{where} takes {got.get(quantity, 0)} {quantity} where "
                        f"{want.get(quantity, 0)} are recorded; mend it, or record it with the "
                        f"reason in the commit: {again}"
                    )
    for kernel, targets in record.items():
        for target in targets:
            if target not in table.get(kernel, {}):
                yield (
                    f"{kernel} for {target} is recorded and not in this build; record what "
                    f"there is: {again}"
                )


def processor_seconds(logs):
    """What compiling the objects took; a cached object says what it took to fetch it."""
    found = [re.search(r"^processor seconds: ([\d.]+)", log.read_text()) for log in logs.values()]
    return sum(float(seconds[1]) for seconds in found if seconds)


def nvcc_of(build):
    cache = (build / "CMakeCache.txt").read_text()
    compiler = re.search(r"^CMAKE_CUDA_COMPILER:\w+=(.*)$", cache, re.M)
    if not compiler:
        sys.exit(f"kernel_resources: {build} was configured without CUDA")
    said = subprocess.run([compiler[1], "--version"], text=True, capture_output=True, check=True)
    return re.search(r"V([\d.]+)", said.stdout)[1]


def record_text(nvcc, table, spilling):
    """The record as JSON, a line for each kernel and architecture."""
    kernels = [
        f"  {json.dumps(name)}: {{\n"
        + ",\n".join(
            f"   {json.dumps(target)}: {json.dumps(row)}" for target, row in targets.items()
        )
        + "\n  }"
        for name, targets in table.items()
    ]
    head = f' "nvcc": {json.dumps(nvcc)},\n "spilling": {json.dumps(spilling)},\n'
    return "{\n" + head + ' "kernels": {\n' + ",\n".join(kernels) + "\n }\n}\n"


def show(table):
    width = max(map(len, table), default=0)
    print(f"{'kernel':<{width}}  target   registers spill stack static dynamic shared memory")
    for kernel, targets in table.items():
        for target, row in targets.items():
            print(
                f"{kernel:<{width}}  {target:<8} {row['registers']:>9} {row['spill_bytes']:>5} "
                f"{row['stack_bytes']:>5} {row['shared_bytes_static']:>6} "
                f"{row.get('shared_bytes_dynamic', 0):>7}"
            )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("--record", action="store_true", help="write the record from this build")
    arguments = parser.parse_args()
    again = f"python3 gpu/{pathlib.Path(__file__).name} {arguments.build} --record"
    nvcc = nvcc_of(arguments.build)
    table, faults = measure(arguments.build, launches_of(arguments.build))
    show(table)
    took = processor_seconds(objects_of(arguments.build))
    print(f"nvcc: {took:.0f} s of processor time, {SECONDS_MAX} may be (6 minutes of 2 cores)")
    if not took <= SECONDS_MAX:
        faults.append(
            f"compiling the kernels took {took:.0f} s of processor time, more than "
            f"{SECONDS_MAX}; split or drop instances of the slowest"
        )
    record = json.loads(RECORD.read_text()) if RECORD.is_file() else {}
    spilling = record.get("spilling", {})
    if arguments.record:
        RECORD.write_text(record_text(nvcc, table, spilling))
        print(f"recorded {len(table)} functions of nvcc {nvcc} in {RECORD}")
        record = json.loads(RECORD.read_text())
    if record["nvcc"] != nvcc:
        print(
            f"not run: the record is of nvcc {record['nvcc']}, this is {nvcc}; to hold later "
            f"builds to this one: {again}"
        )
        return EXIT_SKIPPED
    for kernel, why in spilling.items():
        print(f"kernel_resources: {kernel} spills registers: {why}")
    faults += compare(record["kernels"], table, again, spilling)
    for fault in faults:
        print(f"kernel_resources: {fault}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
