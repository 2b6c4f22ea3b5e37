"""The door as a newcomer finds it: the README's section, `ringproof new`, the installed package.

Run by ctest with RINGPROOF_BIN set; needs a C compiler and CMake, and for CUDA an nvcc.
"""

import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest
import xml.etree.ElementTree

import yaml

BIN = pathlib.Path(os.environ["RINGPROOF_BIN"])
ROOT = pathlib.Path(__file__).resolve().parent.parent
SMALL = "fwd/fp32/b1.hq2.hkv1.sq9.skv13.dqk8.dv8/full/scale0.5/gauss:1/bhsd/single"


def run(command, folder, shell=False):
    path = f"{BIN}:{os.environ['PATH']}"
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, shell=shell, timeout=600,
        env=os.environ | {"PATH": path},
    )  # fmt: skip


def section_of_readme(title):
    text = (ROOT / "README.md").read_text()
    section = text.split(f"\n## {title}\n")[1].split("\n## ")[0]
    return re.findall(r"(?:^    .*\n)+", section, re.M)


class Readme(unittest.TestCase):
    def test_judge_your_own_kernel_does_what_it_says(self) -> None:
        blocks = section_of_readme("Judge your own kernel")
        with tempfile.TemporaryDirectory() as folder:
            done = run("set -e\n" + blocks[0], folder, shell=True)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            self.assertRegex(done.stdout, r"\./libattention\.so: accepted \(reference contract\)")


class Snippets(unittest.TestCase):
    """The CI snippets of the README: valid YAML, and what they run after the installation works."""

    def steps(self):
        github, gitlab = (yaml.safe_load(block) for block in section_of_readme("In your CI"))
        job = github["jobs"]["attention"]
        self.assertIn("push", github[True])  # YAML 1.1 reads `on` so
        self.assertTrue(all(("uses" in step) != ("run" in step) for step in job["steps"]))
        artifacts = gitlab["attention"]["artifacts"]
        self.assertEqual((artifacts["when"], artifacts["paths"]), ("always", ["report"]))
        install = [step["run"] for step in job["steps"] if "run" in step][0]
        for script in install.split(" && ")[0], "ci/setup.sh":
            self.assertTrue((ROOT / script.removeprefix("third_party/ringproof/")).exists())
        yield "github", [step["run"] for step in job["steps"] if "run" in step][1:]
        yield "gitlab", gitlab["attention"]["script"]

    def test_they_are_valid_and_run(self) -> None:
        for name, commands in self.steps():
            with self.subTest(name), tempfile.TemporaryDirectory() as folder:
                run(["ringproof", "new", "c", "mine"], folder)
                summary = pathlib.Path(folder) / "summary.md"
                for command in commands:
                    if name == "gitlab":  # a whole tier is run once
                        command = command.replace(" gate", f" gate --case {SMALL}")
                    line = f"export GITHUB_STEP_SUMMARY={summary}; {command}"
                    done = run(["bash", "-eo", "pipefail", "-c", line], f"{folder}/mine")
                    self.assertEqual(done.returncode, 0, command + done.stdout + done.stderr)
                report = pathlib.Path(folder) / "mine/report"
                self.assertGreater(len((report / "results.jsonl").read_text()), 1000)
                suites = xml.etree.ElementTree.parse(report / "junit.xml").getroot()
                self.assertGreater(int(suites.get("tests", "0")), 100 if name == "github" else 0)
                self.assertEqual(suites.get("failures"), "0")
                if name == "github":
                    self.assertIn("accepted (reference contract)", summary.read_text())


class New(unittest.TestCase):
    def test_what_new_leaves_is_as_its_readme_says(self) -> None:
        for language in ("c", "cuda", "python"):
            with self.subTest(language), tempfile.TemporaryDirectory() as folder:
                done = run(["ringproof", "new", language, "mine"], folder)
                self.assertEqual(done.returncode, 0, done.stderr)
                readme = (pathlib.Path(folder) / "mine/README.md").read_text()
                self.assertLessEqual(readme.count("\n"), 12)
                for line in re.findall(r"^    .*$", readme, re.M):
                    self.assertIn(line, done.stdout)

    def test_the_skeleton_in_cuda_compiles_and_is_judged_where_there_is_a_gpu(self) -> None:
        nvcc = shutil.which("nvcc", path=f"{os.environ['PATH']}:/usr/local/cuda/bin")
        if nvcc is None:
            self.skipTest("no nvcc here")
        with tempfile.TemporaryDirectory() as folder:
            run(["ringproof", "new", "cuda", "mine"], folder)
            readme = (pathlib.Path(folder) / "mine/README.md").read_text()
            build = re.search(r"^    nvcc (.*)$", readme, re.M).group(1)
            done = run([nvcc, *build.split()], f"{folder}/mine")
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            gate = ["ringproof", "gate", "--candidate", "./libattention.so", "--case", SMALL]
            done = run(gate, f"{folder}/mine")
            has_device = "not run: ./libattention.so: it wants device memory" not in done.stdout
            self.assertEqual("accepted (" in done.stdout, has_device, done.stdout)

    def test_a_folder_that_holds_something_is_left_alone(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            (pathlib.Path(folder) / "kept").write_text("mine")
            done = run(["ringproof", "new", "c", folder], "/")
            self.assertEqual(done.returncode, 2)
            self.assertIn("is not empty", done.stderr)
            self.assertEqual(os.listdir(folder), ["kept"])
            self.assertEqual(run(["ringproof", "new", "rust", f"{folder}/mine"], "/").returncode, 2)


class Package(unittest.TestCase):
    def test_a_project_finds_the_installed_header_by_find_package(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            script = BIN.parent / "cmake_install.cmake"
            done = run(
                ["cmake", "-D", f"CMAKE_INSTALL_PREFIX={folder}/installed", "-P", script], folder
            )
            self.assertEqual(done.returncode, 0, done.stderr)
            project = pathlib.Path(folder) / "project"
            project.mkdir()
            (project / "CMakeLists.txt").write_text(
                """cmake_minimum_required(VERSION 3.22)
project(mine LANGUAGES C)
find_package(ringproof 0.1 REQUIRED)
add_library(mine MODULE attention.c)
target_link_libraries(mine PRIVATE ringproof::candidate_abi m)
"""
            )
            shutil.copy(ROOT / "candidates/examples/c/attention.c", project)
            configure = [
                "cmake",
                "-S",
                project,
                "-B",
                f"{folder}/b",
                f"-DCMAKE_PREFIX_PATH={folder}/installed",
            ]
            for command in (configure, ["cmake", "--build", f"{folder}/b"]):
                done = run(command, folder)
                self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            installed = f"{folder}/installed/bin/ringproof"
            done = run(
                [installed, "gate", "--candidate", f"{folder}/b/libmine.so", "--case", SMALL],
                folder,
            )
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            self.assertEqual(run([installed, "new", "c", f"{folder}/mine"], folder).returncode, 0)
            header = pathlib.Path(f"{folder}/mine/ringproof/candidate_abi.h").read_text()
            self.assertEqual(header, (ROOT / "candidates/candidate_abi.h").read_text())


if __name__ == "__main__":
    unittest.main()
