"""The rules of kernel_resources.py, on what ptxas says and on tables made to break each of them."""

import unittest

import kernel_resources

PTXAS = """\
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '_ZN1a6kernelILi64EEEvi' for 'sm_80'
ptxas info    : Function properties for _ZN1a6kernelILi64EEEvi
    8 bytes stack frame, 4 bytes spill stores, 12 bytes spill loads
ptxas info    : Used 128 registers, used 1 barriers, 1024+16 bytes smem, 624 bytes cmem[0]
ptxas info    : Function properties for _ZN1a6helperEv
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Compiling entry function '_ZN1a6kernelILi64EEEvi' for 'sm_90a'
ptxas info    : Function properties for _ZN1a6kernelILi64EEEvi
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 160 registers, used 1 barriers
"""


def row(**changes):
    return {
        "registers": 100,
        "stack_bytes": 0,
        "spill_bytes": 0,
        "shared_bytes_static": 0,
        "shared_bytes_dynamic": 40000,
        "threads": 128,
        **changes,
    }


def faults(got, want, spilling=()):
    record = {"kernel<1>": {"sm_80": want}} if want else {}
    table = {"kernel<1>": {"sm_80": got}} if got else {}
    return list(kernel_resources.compare(record, table, "the command", dict(spilling)))


class Parsing(unittest.TestCase):
    def test_every_function_and_architecture_has_its_numbers(self):
        table = kernel_resources.parse_ptxas(PTXAS)
        kernel, helper = "_ZN1a6kernelILi64EEEvi", "_ZN1a6helperEv"
        self.assertEqual(set(table), {(kernel, "sm_80"), (helper, "sm_80"), (kernel, "sm_90a")})
        self.assertEqual(
            table[kernel, "sm_80"],
            {
                "registers": 128,
                "stack_bytes": 8,
                "spill_bytes": 16,
                "shared_bytes_static": 1040,
                "is_kernel": True,
            },
        )
        self.assertEqual(table[kernel, "sm_90a"]["registers"], 160)
        self.assertFalse(table[helper, "sm_80"]["is_kernel"])

    def test_names_are_readable(self):
        names = ["_ZN9ringproof7on_cuda25flash_forward_fp32_kernelILi64EEEvNS_11FlashParamsE"]
        self.assertEqual(
            kernel_resources.readable(names), {names[0]: "flash_forward_fp32_kernel<64>"}
        )


class Holding(unittest.TestCase):
    def test_what_is_recorded_plus_five_percent_may_be_taken(self):
        self.assertEqual(faults(row(), row()), [])
        self.assertEqual(faults(row(registers=105, shared_bytes_dynamic=42000), row()), [])
        self.assertEqual(faults(row(registers=50), row()), [])

    def test_more_is_a_fault_that_names_the_command(self):
        for quantity, got in {
            "registers": 106,
            "stack_bytes": 8,
            "shared_bytes_static": 16,
            "shared_bytes_dynamic": 42001,
        }.items():
            said = faults(row(**{quantity: got}), row())
            self.assertEqual(len(said), 1, quantity)
            self.assertIn(f"{got} {quantity}", said[0])
            self.assertIn("the command", said[0])

    def test_no_spill_is_allowed_even_where_it_is_recorded(self):
        spilling = row(spill_bytes=4)
        self.assertIn("spills 4 bytes", faults(spilling, spilling)[0])

    def test_a_kernel_that_is_named_as_spilling_may_not_spill_more(self):
        named = {"kernel": "waits for smaller tiles"}
        self.assertEqual(faults(row(spill_bytes=4), row(spill_bytes=4), named), [])
        self.assertIn("8 spill_bytes", faults(row(spill_bytes=8), row(spill_bytes=4), named)[0])

    def test_a_kernel_without_a_record_and_a_record_without_a_kernel_are_faults(self):
        self.assertIn(
            "not recorded; look at it, then record it: the command", faults(row(), None)[0]
        )
        self.assertIn("recorded and not in this build", faults(None, row())[0])

    def test_what_no_block_can_have_is_a_fault(self):
        huge = row(registers=250, threads=512)
        self.assertIn("can have 65536", faults(huge, huge)[0])
        huge = row(shared_bytes_dynamic=170000)
        self.assertIn("can have 166912", faults(huge, huge)[0])


if __name__ == "__main__":
    unittest.main()
