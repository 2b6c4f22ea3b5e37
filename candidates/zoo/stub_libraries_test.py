#!/usr/bin/env python3
"""A program's library that needs a library of CUDA's loads over its stand-in, versions and all."""
import ctypes
import pathlib
import subprocess
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
NAME = "libcufancy.so.3"


def compiled(folder: pathlib.Path, output: str, source: str, *options: str) -> None:
    (folder / "source.c").write_text(source)
    command = ["cc", "-shared", "-fPIC", "-o", output, "source.c", *options]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


class StubLibrariesTest(unittest.TestCase):
    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = pathlib.Path(scratch.name)
        (self.folder / "versions").write_text("V3 { global: fancy; };\n")
        declared = "int fancy(void); int plain(void);"
        library = declared + "int fancy(void) { return 7; } int plain(void) { return 8; }"
        compiled(
            self.folder, NAME, library,
            f"-Wl,-soname,{NAME}", "-Wl,--version-script=versions",
        )  # fmt: skip
        user = declared + "int both(void) { return fancy() + plain(); }"
        compiled(self.folder, "libuser.so", user, NAME, "-Wl,-z,now", "-Wl,-rpath,$ORIGIN")
        (self.folder / NAME).unlink()

    def test_every_symbol_is_there_under_its_version_and_returns_no_device(self) -> None:
        with self.assertRaises(OSError):
            ctypes.CDLL(str(self.folder / "libuser.so"))
        command = [sys.executable, HERE / "stub_libraries.py", self.folder]
        done = subprocess.run(command, capture_output=True, text=True)
        self.assertEqual(done.stdout, f"1 stubs of 2 symbols in {self.folder}\n", done.stderr)
        self.assertEqual(ctypes.CDLL(str(self.folder / "libuser.so")).both(), 200)
        symbols = ["objdump", "-T", self.folder / NAME]
        self.assertIn("V3", subprocess.run(symbols, capture_output=True, text=True).stdout)

    def test_a_folder_that_is_not_there_is_refused(self) -> None:
        command = [sys.executable, HERE / "stub_libraries.py", self.folder / "nowhere"]
        done = subprocess.run(command, capture_output=True, text=True)
        self.assertEqual(done.returncode, 2)
        self.assertIn("lib folder of an installed torch", done.stderr)


if __name__ == "__main__":
    unittest.main()
