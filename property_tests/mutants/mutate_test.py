#!/usr/bin/env python3
"""Tests mutate.py: an edit that does not fit in exactly one place must fail the build.

Method: small sources and .mutant texts, no files; and the mutants of this tree against its sources.
"""
import pathlib
import unittest

import mutate

ROOT = pathlib.Path(__file__).resolve().parents[2]
HEAD = "source: distributed/merge.cpp\nspecimen: ring:double\nimitates: nothing\n"
KERNEL_HEAD = HEAD.replace("distributed/merge.cpp", "gpu/flash_forward_fp32.cuh").replace(
    "ring:double", "flash_forward_fp32"
)


def mutant(find, replace, head=HEAD):
    return mutate.parse("m", f"{head}find:\n{find}\nreplace:\n{replace}\n")


class AMutantFile(unittest.TestCase):
    def test_is_read_with_its_header_and_both_texts(self):
        found = mutant("a + b", "a - b", HEAD + "ends: error\n")
        self.assertEqual((found.find, found.replace, found.ends_in_error), ("a + b", "a - b", True))
        self.assertEqual(found.space, "mutant_m")

    def test_may_replace_text_by_nothing(self):
        self.assertEqual(mutate.parse("m", HEAD + "find:\na;\nreplace:\n").replace, "")

    def test_without_a_header_line_is_refused(self):
        for line in HEAD.splitlines(keepends=True):
            with self.assertRaises(ValueError):
                mutant("a", "b", HEAD.replace(line, ""))

    def test_with_an_unknown_header_line_or_source_is_refused(self):
        other_source = KERNEL_HEAD.replace("flash_forward_fp32.cuh", "simt/simt.h")
        for head in (
            HEAD + "why: so\n",
            HEAD + "ends: well\n",
            HEAD.replace("merge", "urge"),
            other_source,
        ):
            with self.assertRaises(ValueError):
                mutant("a", "b", head)


class AnEdit(unittest.TestCase):
    def test_is_made_where_its_text_stands_once(self):
        self.assertEqual(mutate.apply(mutant("+", "-"), "a + b"), "a - b")

    def test_that_fits_nowhere_or_twice_is_refused(self):
        for original in ("a * b", "a + b + c"):
            with self.assertRaises(ValueError):
                mutate.apply(mutant("+", "-"), original)

    def test_that_changes_nothing_is_refused(self):
        with self.assertRaises(ValueError):
            mutate.apply(mutant("+", "+"), "a + b")


class ACopy(unittest.TestCase):
    def test_lies_in_the_namespace_of_its_mutant(self):
        moved = mutate.moved(mutant("+", "-"), "#pragma once\nnamespace ringproof {\n}\n")
        self.assertEqual(moved, "namespace ringproof::mutant_m {\n}\n")

    def test_of_a_kernel_gets_its_namespace_from_the_macro(self):
        text = "namespace ringproof::SIMT_BACKEND {\n}\n"
        moved = mutate.moved(mutant("+", "-", KERNEL_HEAD), text)
        head = f"#undef SIMT_BACKEND\n#define SIMT_BACKEND mutant_m\n{text}"
        self.assertTrue(moved.startswith(head))
        self.assertIn("namespace ringproof::mutant_m {\nvoid flash_forward_fp32(", moved)

    def test_of_a_kernel_holds_its_headers_of_which_one_may_be_the_edited(self):
        header = mutate.HEADERS[0]
        texts = {
            "gpu/flash_forward_fp32.cuh": f'#include "{header}"\n#include "other.h"\nx * y\n',
            header: "#pragma once\na + b\n",
        }
        in_kernel = mutate.assembled(mutant("*", "/", KERNEL_HEAD), texts.get)
        self.assertEqual(in_kernel, '#pragma once\na + b\n#include "other.h"\nx / y\n')
        head = KERNEL_HEAD.replace("gpu/flash_forward_fp32.cuh", header)
        in_header = mutate.assembled(mutant("+", "-", head), texts.get)
        self.assertEqual(in_header, '#pragma once\na - b\n#include "other.h"\nx * y\n')

    def test_of_a_source_without_the_one_namespace_is_refused(self):
        with self.assertRaises(ValueError):
            mutate.moved(mutant("+", "-"), "namespace other {\n}\n")


class FaultsThatCannotBeSeen(unittest.TestCase):
    def test_are_read_as_fault_reason_and_floor(self):
        text = "# remark\n\na | b c | d\n"
        self.assertEqual(mutate.read_unseen(text), [["a", "b c", "d"]])

    def test_without_a_reason_or_a_floor_are_refused(self):
        for text in ("a | b\n", "a |  | c\n", "a | b | c | d\n"):
            with self.assertRaises(ValueError):
                mutate.read_unseen(text)


class TheMutantsOfThisTree(unittest.TestCase):
    def test_each_fits_its_source_in_one_place(self):
        mutants = mutate.read_mutants(ROOT / "property_tests/mutants")
        self.assertGreaterEqual(len(mutants), 15)
        for one in mutants:
            original = (ROOT / one.source).read_text()
            self.assertNotEqual(mutate.apply(one, original), original)


if __name__ == "__main__":
    unittest.main()
