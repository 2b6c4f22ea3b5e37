#!/usr/bin/env python3
"""Compiler launcher: runs nvcc as given, keeps what ptxas says of the kernels beside the object.

    keep_ptxas_log.py nvcc ... -Xptxas=-v ... -o kernel.cu.o      leaves kernel.cu.o.ptxas

A build compiles most of its objects at other times than it is asked about them, so the words have
to lie in a file, and with them the processor time that it took. Everything else that nvcc says goes
to stderr; its exit code is handed on.
"""
import pathlib
import re
import resource
import subprocess
import sys

PTXAS = re.compile(r"ptxas info|^ +\d+ bytes stack frame|^ +\d+ bytes cumulative stack size")


def main(command):
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    lines = done.stderr.splitlines(keepends=True)
    sys.stderr.writelines(line for line in lines if not PTXAS.search(line))
    if done.returncode == 0 and "-o" in command:
        log = pathlib.Path(command[command.index("-o") + 1] + ".ptxas")
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        took = f"processor seconds: {used.ru_utime + used.ru_stime:.1f}\n"
        log.write_text(took + "".join(line for line in lines if PTXAS.search(line)))
    return done.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
