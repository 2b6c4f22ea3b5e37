#!/usr/bin/env python3
"""ringproof.worker without the command: a parent played here asks over the socket."""
import ctypes
import dataclasses
import json
import mmap
import os
import pathlib
import re
import socket
import sys
import threading
import unittest

import ml_dtypes
import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from ringproof import Arithmetic, Description, Problem, Unsupported, server, worker  # noqa: E402
from ringproof.description import FEATURES, BadInput  # noqa: E402
from ringproof.problem import DTYPES, MASKS, SCHEDULES, problem_of  # noqa: E402

PAGE = mmap.PAGESIZE
PROBLEM = {
    "dtype": 2,
    "mask": 0,
    "batch": 1,
    "heads_q": 2,
    "heads_kv": 1,
    "seqlen_q": 3,
    "seqlen_kv": 5,
    "head_dim_qk": 4,
    "head_dim_v": 6,
    "window_left": -1,
    "window_right": -1,
    "softmax_scale": 0.5,
    "softcap": 0,
    "sink": None,
    "cu_seqlens_q": None,
    "cu_seqlens_kv": None,
    "block_mask": None,
}
SHAPES = {"q": (1, 2, 3, 4), "k": (1, 1, 5, 4), "v": (1, 1, 5, 6), "out": (1, 2, 3, 6)}


def naive(q, k, v, problem):
    """The formula of Problem, in float64, cast at the end; and lse."""
    group = problem.heads_q // problem.heads_kv
    q, k, v = q.astype(np.float64), *(x.astype(np.float64).repeat(group, axis=1) for x in (k, v))
    scores = np.einsum("bhqd,bhkd->bhqk", q, k) * problem.softmax_scale
    scores = np.where(problem.visible(), scores, -np.inf)
    largest = scores.max(axis=-1, keepdims=True)
    weights = np.exp(scores - largest)
    total = weights.sum(axis=-1, keepdims=True)
    out = (weights @ v / total).astype(np.float32)
    return out, (np.log(total) + largest)[..., 0].astype(np.float32)


class Parent:
    """One region of inputs and one of outputs, and a worker on a thread."""

    def __init__(self, fn, description=None, dtype=2, is_guest=False):
        self.end, theirs = socket.socketpair()
        callee = server.Callee(fn, description or Description(features=("grouped_heads",)))
        self.server = server.Server(theirs, lambda: callee, is_guest=is_guest)
        self.thread = threading.Thread(target=self.serve, args=(theirs,), daemon=True)
        self.thread.start()
        self.reader = self.end.makefile("r")
        self.dtype = dtype
        self.regions = []

    def serve(self, end):
        with end:
            self.server.serve()

    def ask(self, message, descriptors=()):
        socket.send_fds(self.end, [json.dumps(message).encode() + b"\n"], list(descriptors))
        return json.loads(self.reader.readline())

    def describe(self, dtype=0):
        return self.ask({"ask": "describe", "protocol": 1, "abi_version": 1, "dtype": dtype})

    def make_regions(self):
        """Two of them, told with the next line in place of any there were."""
        self.unmap = [0, 1] if self.regions else []
        self.regions, self.descriptors = [], []
        for _ in range(2):
            descriptor = os.memfd_create("region")
            os.ftruncate(descriptor, 4 * PAGE)
            self.regions.append(mmap.mmap(descriptor, 4 * PAGE))
            self.descriptors.append(descriptor)

    def forward(self, values, **problem):
        """Puts q, k, v one after another into region 0, with gaps between their rows."""
        if not self.regions:
            self.describe()
            self.make_regions()
        tensors, at = {}, 0
        for name in ("q", "k", "v"):
            shape, stride = SHAPES[name], self.strides(SHAPES[name], gap=2)
            count = stride[0] + stride[1]
            view = np.ndarray(
                shape,
                values[name].dtype,
                self.regions[0],
                at,
                [s * values[name].itemsize for s in stride],
            )
            view[...] = values[name]
            tensors[name] = self.tensor(0, at, shape, stride)
            at += count * values[name].itemsize * 2
        out, lse = SHAPES["out"], (1, 2, 3, 1)
        tensors["out"] = self.tensor(1, 0, out, self.strides(out))
        tensors["lse"] = self.tensor(1, PAGE, lse, (6, 3, 1, 1)) | {"dtype": 2}
        message = {"ask": "forward", "problem": {**PROBLEM, "dtype": self.dtype, **problem}}
        message |= {"tensors": tensors, "unmap": self.unmap, "map": []}
        if self.descriptors:
            message["map"] = [
                {"region": number, "bytes": 4 * PAGE, "writable": number == 1} for number in (0, 1)
            ]
        answer = self.ask(message, self.descriptors)
        for descriptor in self.descriptors:
            os.close(descriptor)
        self.unmap, self.descriptors = [], []
        got = np.ndarray(out, np.float32, self.regions[1], 0)
        return answer, got, np.ndarray((1, 2, 3), np.float32, self.regions[1], PAGE)

    def strides(self, shape, gap=0):
        row = shape[3] + gap
        return (shape[1] * shape[2] * row, shape[2] * row, row, 1)

    def tensor(self, region, offset, shape, stride):
        return {
            "region": region,
            "offset": offset,
            "dtype": self.dtype,
            "shape": list(shape),
            "stride": list(stride),
        }

    def close(self):
        self.reader.close()
        self.end.close()
        self.thread.join(10)


def values(dtype=np.float32):
    rng = np.random.default_rng(7)
    return {name: rng.standard_normal(SHAPES[name]).astype(dtype) for name in ("q", "k", "v")}


class WorkerTest(unittest.TestCase):
    def parent(self, *arguments, **options):
        parent = Parent(*arguments, **options)
        self.addCleanup(parent.close)
        return parent

    def failure_of(self, fn, **options):
        """The answer to a call of `fn`, which must be an error that the worker survives."""
        parent = self.parent(fn, **options)
        answer = parent.forward(values())[0]
        self.assertEqual(answer["status"], server.ERROR)
        self.assertEqual(parent.forward(values())[0], answer)
        return answer

    def test_a_callable_reads_strided_inputs_and_its_answer_reaches_the_parent(self):
        description = Description(features=("grouped_heads", "writes_lse"))
        parent = self.parent(naive, description)
        data = values()
        answer, out, lse = parent.forward(data)
        self.assertEqual(answer, {"status": server.OK})
        want_out, want_lse = naive(**data, problem=problem_of(PROBLEM))
        self.assertTrue((out == want_out).all())
        self.assertTrue((lse == want_lse).all())

    def test_other_data_at_the_same_addresses_is_read_anew(self):
        addresses = []

        def remember(q, k, v, problem):
            addresses.append(q.ctypes.data)
            return np.full(problem.shape_out, q[0, 0, 0, 0], dtype=np.float32)

        parent = self.parent(remember)
        for data in (values(), {name: x + 1 for name, x in values().items()}):
            _, out, _ = parent.forward(data)
            self.assertEqual(out[0, 1, 2, 3], data["q"][0, 0, 0, 0])
        self.assertEqual(addresses[0], addresses[1])

    def test_bf16_arrives_as_ml_dtypes_with_every_bit(self):
        seen = {}

        def look(q, k, v, problem):
            seen["q"] = q.copy()
            return np.zeros(problem.shape_out, dtype=ml_dtypes.bfloat16)

        parent = self.parent(look, Description(dtypes=("bf16",)), dtype=4)
        data = values(ml_dtypes.bfloat16)
        self.assertEqual(parent.forward(data)[0], {"status": server.OK})
        self.assertEqual(seen["q"].dtype, ml_dtypes.bfloat16)
        self.assertEqual(seen["q"].tobytes(), data["q"].tobytes())

    def test_inputs_cannot_be_written_to_through_numpy(self):
        def write(q, k, v, problem):
            q += 1

        self.assertIn("read-only", self.failure_of(write)["error"])
        self.assertIn("read-only", self.failure_of(write, is_guest=True)["error"])

    def test_a_guest_that_writes_to_its_inputs_all_the_same_is_told_and_survives(self):
        def write(q, k, v, problem):
            (ctypes.c_float * 1).from_address(q.ctypes.data)[0] += 1
            return np.zeros(problem.shape_out, dtype=np.float32)

        answer = self.failure_of(write, is_guest=True)
        self.assertIn("wrote to its input q", answer["error"])

    def test_a_wrong_result_is_named_with_what_was_wanted(self):
        def returning(make):
            return lambda q, k, v, problem: make(np.zeros(problem.shape_out, dtype=np.float32))

        for make, word in (
            (lambda out: out[..., :3], "shape (1, 2, 3, 3), wanted (1, 2, 3, 6)"),
            (lambda out: out.astype(np.float64), "float64, wanted float32"),
            (lambda out: out.swapaxes(1, 2).copy().swapaxes(1, 2), "non-contiguous"),
            (lambda out: None, "NoneType"),
            (lambda out: (out, out, out), "3 values"),
        ):
            self.assertIn(word, self.failure_of(returning(make))["error"])
        lacks_lse = Description(features=("writes_lse",))
        answer = self.failure_of(returning(lambda out: out), description=lacks_lse)
        self.assertIn("return (out, lse)", answer["error"])

    def test_an_exception_is_an_error_with_the_traceback_of_the_callable_alone(self):
        def fail(q, k, v, problem):
            raise RuntimeError("no such\nluck")

        answer = self.failure_of(fail)
        self.assertEqual(answer["error"], "RuntimeError: no such luck")
        self.assertIn("in fail", answer["traceback"])
        self.assertNotIn("ringproof/server.py", answer["traceback"])

    def test_unsupported_is_a_refusal_and_no_error(self):
        def refuse(q, k, v, problem):
            raise Unsupported("too wide")

        answer = self.parent(refuse).forward(values())[0]
        self.assertEqual(answer, {"status": server.UNSUPPORTED, "error": "too wide"})

    def test_a_region_is_unmapped_even_while_the_callable_keeps_a_view(self):
        kept = []

        def keep(q, k, v, problem):
            kept.append(q)
            return np.zeros(problem.shape_out, dtype=np.float32)

        parent = self.parent(keep)
        parent.forward(values())
        answer = parent.ask({"ask": "forward", "unmap": [0, 1], "problem": PROBLEM, "tensors": {}})
        self.assertEqual(answer["status"], server.ERROR)  # no tensors: but the line was read
        self.assertEqual(kept[0].shape, SHAPES["q"])

    def test_calls_and_new_regions_leave_no_descriptors_behind(self):
        for is_guest in (False, True):
            description = Description(features=("grouped_heads", "writes_lse"))
            parent = self.parent(naive, description, is_guest=is_guest)
            parent.forward(values())
            before = len(os.listdir("/proc/self/fd"))
            for _ in range(100):
                parent.make_regions()
                self.assertEqual(parent.forward(values())[0], {"status": server.OK})
                self.assertEqual(len(os.listdir("/proc/self/fd")), before)

    def test_a_description_is_told_in_numbers_of_the_abi(self):
        description = Description(
            dtypes=("bf16", "fp32"),
            masks=("full", "window"),
            features=("writes_lse",),
            notes=("says so",),
            contiguous=True,
        )
        answer = self.parent(naive, description).describe(dtype=4)
        said = answer["description"]
        self.assertEqual(
            (said["dtypes"], said["masks"], said["features"]), (1 << 4 | 1 << 2, 9, 16)
        )
        self.assertEqual((answer["notes"], answer["has_backward"]), (["says so"], False))

    def test_what_is_not_there_is_refused_in_a_sentence(self):
        for spec, words in (
            ("python:no_such_module:attention", "there is no module 'no_such_module'"),
            ("python:json:no_such_name", "'no_such_name' of module 'json' does not exist"),
            ("python:json:__name__", "is not callable"),
            ("python:json", "write python:module:callable"),
            ("mlx:no_such_name", "there is no adapter 'mlx:no_such_name'"),
        ):
            with self.assertRaisesRegex(BadInput, words.replace("(", r"\(")):
                worker.find(spec)


class ProblemTest(unittest.TestCase):
    def visible(self, mask, **fields):
        message = {**PROBLEM, "mask": MASKS.index(mask), "seqlen_q": 3, "seqlen_kv": 4, **fields}
        return [
            "".join("x" if seen else "." for seen in row) for row in problem_of(message).visible()
        ]

    def test_masks_are_those_of_the_semantics(self):
        self.assertEqual(self.visible("full"), ["xxxx"] * 3)
        self.assertEqual(self.visible("causal_top_left"), ["x...", "xx..", "xxx."])
        self.assertEqual(self.visible("causal_bottom_right"), ["xx..", "xxx.", "xxxx"])
        window = {"window_left": 1, "window_right": 0}
        self.assertEqual(self.visible("window", **window), ["xx..", ".xx.", "..xx"])
        documents = {"cu_seqlens_q": [0, 1, 3], "cu_seqlens_kv": [0, 0, 3]}
        self.assertEqual(self.visible("document", **documents), ["....", "xxx.", "xxx."])
        causal = {**documents, "document_causal": 1}
        self.assertEqual(self.visible("document", **causal), ["....", "xx..", "xxx."])
        tiles = {"block_q": 2, "block_kv": 3, "block_mask": "1001"}
        self.assertEqual(self.visible("block_sparse", **tiles), ["xxx.", "xxx.", "...x"])
        no_keys = {**tiles, "block_mask": None, "seqlen_kv": 0}
        self.assertEqual(self.visible("block_sparse", **no_keys), ["", "", ""])

    def test_a_description_has_the_fields_of_the_abi(self):
        header = (pathlib.Path(__file__).resolve().parents[1] / "candidate_abi.h").read_text()
        struct = re.search(r"struct rp_arithmetic \{(.*?)\n\};", header, re.S).group(1)
        names = re.findall(r"^\s*(?:int32_t|int64_t|double) (\w+);", struct, re.M)
        self.assertEqual(names, [field.name for field in dataclasses.fields(Arithmetic)])
        for bit, word in enumerate(FEATURES):
            self.assertRegex(header, rf"RP_(FEATURE_)?{word.upper()} = 1u? << {bit}\b")

    def test_numbers_that_json_cannot_write_come_as_text(self):
        problem = problem_of({**PROBLEM, "sink": [0.5, "-inf"], "softmax_scale": "inf"})
        self.assertIsInstance(problem, Problem)
        self.assertEqual(list(problem.sink), [0.5, -np.inf])
        self.assertEqual(problem.softmax_scale, np.inf)

    def test_words_stand_at_the_values_of_the_abi(self):
        header = (pathlib.Path(__file__).resolve().parents[1] / "candidate_abi.h").read_text()
        for prefix, words in (("RP_MASK_", MASKS), ("RP_SCHEDULE_", SCHEDULES)):
            for value, word in enumerate(words):
                self.assertRegex(header, rf"{prefix}{word.upper()} = {value}\b")
        for value, word in enumerate(DTYPES[1:], 1):
            name = word.upper().replace("FP8", "F8").replace("FP", "F")
            self.assertRegex(header, rf"RP_{name} = {value}\b")


if __name__ == "__main__":
    unittest.main()
