#!/usr/bin/env python3
"""The pages made of small runs written here: what a reader must find in them, and bad input."""
import contextlib
import html
import html.parser
import io
import json
import pathlib
import re
import tempfile
import unittest
import xml.etree.ElementTree

import render

LINE = "fwd/fp32/b1.hq1.hkv1.sq4.skv4.dqk8.dv8/{}/scale0.5/gauss:{}/bhsd/single"
RUN = {"record": "run", "command": "gate", "arguments": ["gate", "--seed", "7"], "version": "0.1.0",
       "commit": "abc", "started": "2025-01-02T03:04:05Z", "tier": "fast", "seed": 7,
       "cpu": "a cpu", "os": "an os", "compiler": "a compiler", "threads": 2, "memory_bytes": 2**33,
       "cuda_build": "none", "cuda_device": "none", "transport": "threads"}
NOT_RUN = {"record": "not_run", "candidate": "kernel:cuda", "why": "no CUDA device"}
END = {"record": "end", "exit_code": 1, "interrupted": False, "count_cases": 5, "time_s": 1.5}


def tensor(name, used, **other):
    return {"name": name, "count": 32, "count_outside": 0, "count_not_judged": 0,
            "count_undefined": 0, "worst_index": [0, 0, 3, 7],
            "want": 0.125, "got": 0.25, "error": 0.125, "bound": 0.5,
            "bound_used": used, **other}


NOISE = {"judged": True, "rows": 0, "figure": "nan", "worst_rows": 0, "worst_figure": "nan",
         "worst_head": [0, 0]}
BIAS = {"judged": True, "rows": 0, "beta": "nan", "standard_error": "nan", "limit": 0.0}


def case(sequence, candidate, outcome, reason="", **other):
    status = {"unsupported": "unsupported", "inconclusive": "failed"}.get(outcome, "returned")
    tensors = [tensor("out", 0.25), tensor("lse", 0.0)] if status == "returned" else []
    return {"record": "case", "sequence": sequence, "candidate": candidate,
            "case": LINE.format("window(1,0)", sequence), "dtype": "fp32", "mask": "window",
            "status": status, "outcome": outcome, "reason": reason,
            "failing_checks": [], "smallest_case": "", "attribution": "", "warnings": [],
            "structure_faults": [], "determinism_faults": [], "property_faults": [],
            "tensors": tensors, "independent": False, "probabilistic": [], "noise": NOISE,
            "bias": BIAS, "candidate_ms": 2.0, "reference_ms": 3.0, **other}


def verdict(candidate, outcome, **counts):
    zero = {f"count_{name}": 0 for name in render.COUNTS}
    return {"record": "verdict", "candidate": candidate, "outcome": outcome,
            "scope": f"scope of {candidate}", "contract": f"contract of {candidate}", **zero,
            **counts, "count_elements": 64, "bound_used": 0.25, "noise": NOISE, "bias": BIAS,
            "failing_checks": [], "reason": "", "time_ms": 6.0, "facts": []}


def power(candidate):
    faults = [{"name": name, "sight": "seen", "why": "bound of out", "bound_used": 3.0}
              for name in ("last key dropped", "a key doubled", "mask edge moved")]
    faults += [{"name": "kv heads rotated", "sight": "not applicable", "why": "one kv head",
                "bound_used": 0}, {"name": "a rescale skipped", "sight": "unseen",
                                   "why": "bound used 0.25", "bound_used": 0.25}]
    effects = [{"name": name, "least_rejected": least} for name, least in (
        ("scale", 0.0625), ("shrink of O", "inf"), ("lse shift", 1e-6), ("key weight", 0.5))]
    return {"record": "power", "candidate": candidate, "dtype": "fp32", "mask": "window",
            "keys": "17-128", "count_cases": 1, "effects": effects, "faults": faults}


def ranks(topology, sent=100, outcome="accepted", steps=True):
    def tally(got, want=None):
        return {"got": got, "want": got if want is None else want}

    def rank(begin):
        times = [{"step": step, "begin_ms": begin + 4 * step, "wait_ms": 0.5, "compute_ms": 2.0,
                  "merge_ms": 0.25, "other_ms": 0.125} for step in (0, 1)]
        return {"bytes_sent": tally(50), "exchanges": tally(1), "memory_bytes_peak": tally(640),
                "pairs": tally(30), "steps": times if steps else []}

    return {"record": "ranks", "candidate": "good", "topology": topology, "count_ranks": 2,
            "outcome": outcome, "count_cases": 3, "bytes_sent": tally(sent, 100),
            "exchanges": tally(2), "memory_bytes_peak": tally(1640), "pairs": tally(1234567),
            "longest_case": LINE.format("window(1,0)", 9), "longest_ms": 8.0,
            "work_over_mean": 1.5, "ranks": [rank(0.0), rank(0.25)]}


def whole_run():
    outside = [tensor("out", "inf", count_outside=3, got="nan", error="nan")]
    return [
        RUN, case(0, "good", "accepted"),
        case(1, "bad", "rejected", "3 of 32 elements of out lie outside", tensors=outside,
                  smallest_case="fwd/smallest"),
        case(2, "bad", "inconclusive", "the call failed: <script>alert(1)</script> & $x_$ `|`"),
        case(3, "bad", "unsupported", "mask window"),
        case(4, "shy", "unsupported", "refused without a word", status="refused"),
        verdict("good", "accepted", count_cases=1, count_accepted=1),
        {**verdict("bad", "rejected", count_cases=3, count_unsupported=1, count_inconclusive=1,
                   count_rejected=1), "facts": [{"name": "noise figure", "value": 1.02, "unit": "1",
                                                 "measured_against": "1.05"}]},
        verdict("shy", "inconclusive", count_cases=1, count_refused=1),
        ranks("zigzag2"), power("good"), NOT_RUN, END]


class Balanced(html.parser.HTMLParser):
    """Notes tags that do not close what is open."""

    VOID = {"meta", "br", "wbr"}

    def __init__(self, text):
        super().__init__()
        self.open, self.faults, self.tags = [], [], set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.add(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.faults.append((tag, self.getpos()))


class RenderTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def write(self, records, rest=""):
        lines = "".join(json.dumps(record) + "\n" for record in records)
        (self.folder / "results.jsonl").write_text(lines + rest)

    def render(self):
        """(exit code, stderr) of the script."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = render.main([str(self.folder)])
        return code, err.getvalue()

    def pages(self, records, rest=""):
        self.write(records, rest)
        self.assertEqual(self.render(), (0, ""))
        return [(self.folder / name).read_text() for name in ("report.html", "report.md")]

    def test_ranks_are_shown_with_their_formulas_and_a_timeline(self):
        page, text = self.pages([RUN, ranks("zigzag2"), ranks("striped2", 99, "rejected", False)])
        for found in ("<b>zigzag2</b>", "100 =", "1,234,567 =", "99 (formula 100)"):
            self.assertIn(found, page)
        self.assertEqual(page.count("Timeline of zigzag2"), 2)
        self.assertNotIn("Timeline of striped2", page)
        for part in ("exposed wait", "compute", "merge"):
            self.assertIn(part, page.split("Timeline of zigzag2")[1])
        self.assertIn("| good | zigzag2 | accepted | 3 | 100 = | 2 = |", text)
        self.assertIn("| 99 (formula 100) |", text)
        self.assertIn("| 2 ms | 8 ms | 1 ms |", text)

    def assert_refused(self, said):
        code, err = self.render()
        self.assertEqual(code, 2)
        self.assertEqual(err.count("\n"), 1, err)
        self.assertIn(said, err)
        self.assertEqual(list(self.folder.glob("report.*")), [])

    def test_a_share_near_one_reads_as_what_it_is(self):
        shares = {1.0: "1", 0.9994: "0.999", 0.9996: "0.9996", 1.0004: "1.0004", 0.25: "0.25",
                  1 - 2**-40: "0.999999", 1 + 2**-40: "1.00001", "inf": "∞", "nan": "nan"}
        self.assertEqual({share: render.share(share) for share in shares}, shares)

    def test_statistics_attribution_and_warnings_are_shown(self):
        noise = {**NOISE, "rows": 560, "figure": 0.912}
        bias = {**BIAS, "rows": 560, "beta": -0.0027, "standard_error": 2e-5, "limit": 2.7e-6}
        records = [RUN, case(0, "bad", "rejected", "out is 0.27 % too small", independent=True,
                             probabilistic=[tensor("out", 0.9996)], noise=noise, bias=bias,
                             failing_checks=["bias of out"], attribution="residual is O itself",
                             warnings=["7 of 9 elements of out exceed"]),
                   case(1, "bad", "accepted", warnings=["8 of 9 elements of out exceed"]),
                   {**verdict("bad", "rejected", count_cases=2, count_rejected=1), "noise": noise,
                    "bias": bias, "failing_checks": ["pooled bias of out"], "reason": "over all"},
                   END]
        page, text = self.pages(records)
        for words in ("0.912 (560 rows)", "-0.27 % ± 0.002 % (560 rows)", "0.00027 %",
                      "residual is O itself", "over all"):
            self.assertIn(words, page)
            self.assertIn(words, text)
        self.assertIn("rejected by: bias of out", page)
        self.assertIn("0.9996", page)
        for words in ("7 of 9 elements of out exceed", "(and 1 more Cases)"):
            self.assertIn(words, page)
            self.assertIn(words, text)

    def test_pages_name_every_candidate_its_scope_and_contract_and_what_did_not_run(self):
        for page in self.pages(whole_run()):
            for name in ("good", "bad", "shy"):
                self.assertIn(f"scope of {name}", page)
                self.assertIn(f"contract of {name}", page)
            self.assertIn("no CUDA device", page)
            self.assertIn("a cpu", page)
            self.assertIn("mask window (1)", page)
            self.assertIn("Rejected", page)
        self.assertIn("noise figure: 1.02 (1.05)", self.pages(whole_run())[0])

    def test_the_power_of_a_run_stands_in_both_pages(self):
        for page in self.pages(whole_run()):
            self.assertIn("What these Cases would have shown", page)
            for words in ("3 of 4", "0.0625", "∞", "1e-06", "a rescale skipped (bound used 0.25)"):
                self.assertIn(words, page)
            self.assertNotIn("one kv head", page)
        for page in self.pages([r for r in whole_run() if r["record"] != "power"]):
            self.assertNotIn("would have shown", page)

    def test_every_reason_stands_in_both_pages(self):
        page, text = self.pages(whole_run())
        for record in whole_run():
            if record["record"] == "case":
                self.assertIn(str(html.escape(record["reason"])), page)
                if record["status"] != "unsupported":
                    self.assertIn(render.markdown(record["reason"]), text)

    def test_the_smallest_failing_case_comes_with_its_command(self):
        for page in self.pages(whole_run()):
            command = "ringproof gate --candidate bad --case 'fwd/smallest'"
            self.assertEqual(html.unescape(page).count(command), 1)

    def test_what_went_wrong_comes_with_the_line_that_reruns_it_and_the_worst_first(self):
        lines = [f"ringproof gate --candidate {name} --case '{LINE.format('window(1,0)', seed)}'"
                 for name, seed in (("bad", 1), ("bad", 2), ("shy", 4))]
        for page in self.pages(whole_run()):
            places = [html.unescape(page).find(line) for line in lines]
            self.assertNotIn(-1, places)
            self.assertEqual(places, sorted(places))
            self.assertEqual(html.unescape(page).count("ringproof gate --candidate"), 4)

    def test_a_rejected_case_shows_its_worst_element(self):
        page, _ = self.pages(whole_run())
        article = page[page.index('<article class="rejected">'):]
        article = article[:article.index("</article>")]
        self.assertIn("<p>3 of 32 elements of out lie outside</p>", article)
        shown = dict(re.findall("<dt>(.*?)</dt><dd>(.*?)</dd>", article))
        self.assertEqual(shown, {"tensor": "out", "outside": "3 of 32", "want": "0.125",
                                 "batch, head, row, column": "0, 0, 3, 7", "got": "nan",
                                 "error": "nan", "bound": "0.5", "bound used": "∞"})

    def test_every_tensor_outside_its_bound_is_shown_and_no_other(self):
        tensors = [tensor("out", 8.0, count_outside=2), tensor("out by value", 0.0),
                   tensor("lse", 3.0, count_outside=1)]
        page, _ = self.pages([RUN, case(0, "bad", "rejected", "why", tensors=tensors), END])
        article = page[page.index("<article"):page.index("</article>")]
        self.assertEqual(re.findall("<dt>tensor</dt><dd>(.*?)</dd>", article), ["out", "lse"])

    def test_text_of_a_record_is_never_markup(self):
        evil = "<script>alert(1)</script>$x_$"
        records = [{**RUN, "cpu": evil, "arguments": [evil]}, case(0, evil, "rejected", evil),
                   verdict(evil, "rejected", count_cases=1, count_rejected=1),
                   {**NOT_RUN, "candidate": evil, "why": evil}, END]
        page, text = self.pages(records)
        self.assertNotIn("<script", page)
        self.assertGreater(page.count(html.escape(evil)), 8)
        used, _, time = re.findall(r'<div class="narrow".*?</svg>', page, re.S)
        self.assertIn(html.escape(evil), used)
        self.assertIn(html.escape(evil), time)
        outside_code = [line for line in text.split("\n") if not line.startswith("    ")]
        self.assertNotIn("<script", "\n".join(outside_code))

    def test_the_page_is_well_formed_and_fetches_nothing(self):
        page, _ = self.pages(whole_run())
        checked = Balanced(page)
        self.assertEqual((checked.faults, checked.open), ([], []))
        self.assertEqual(checked.tags & {"script", "link", "img", "iframe"}, set())
        self.assertNotRegex(page, r"url\((?!#)|@import|\bsrc=")
        self.assertIn("prefers-color-scheme: dark", page)
        ids = re.findall(r'\bid="([^"]+)"', page)
        drawings = re.findall(r"<svg.*?</svg>", page, re.S)
        self.assertEqual(len(drawings), 8)
        for drawing in drawings:
            xml.etree.ElementTree.fromstring(drawing)
        used = set(re.findall(r'(?:href="|url\()#([^")]+)', page))
        self.assertEqual(used - set(ids), set())
        self.assertEqual([i for i in used if ids.count(i) > 1], [])

    def test_figures_take_their_colours_from_the_page(self):
        page, _ = self.pages(whole_run())
        for drawing in re.findall(r"<svg.*?</svg>", page, re.S):
            self.assertIn("var(--ink)", drawing)
            self.assertEqual(re.findall(r"(?:fill|stroke): #\w+", drawing), [])

    def test_the_same_run_gives_the_same_bytes(self):
        self.assertEqual(self.pages(whole_run()), self.pages(whole_run()))

    def test_an_accepted_run_says_so_and_accuses_nobody(self):
        records = [RUN, case(0, "good", "accepted"),
                   verdict("good", "accepted", count_cases=1, count_accepted=1),
                   {**END, "exit_code": 0}]
        for page in self.pages(records):
            self.assertIn("Accepted", re.search("<h1>.*|^# .*", page).group())
            self.assertNotIn("Interrupted", page)
            self.assertNotIn("Rejected, inconclusive or refused", page)

    def test_a_run_without_its_end_is_called_interrupted_and_never_accepted(self):
        killed = [r for r in whole_run() if r["record"] in ("run", "case")]
        for page in self.pages(killed):
            self.assertIn("Interrupted: this run has no end record", page)
            self.assertIn("not decided: the run did not end", page)
        for page in self.pages(killed[:2]):
            self.assertIn("Inconclusive", re.search("<h1>.*|^# .*", page).group())

    def test_a_run_that_was_stopped_is_called_interrupted(self):
        for page in self.pages([*whole_run()[:-1], {**END, "exit_code": 3, "interrupted": True}]):
            self.assertIn("Interrupted: the run was stopped", page)

    def test_a_last_line_that_was_cut_is_left_out_and_mentioned(self):
        cut = json.dumps(case(9, "late", "accepted"))[:60]
        for page in self.pages(whole_run()[:4], rest=cut):
            self.assertIn("The last line of results.jsonl was cut", page)
            self.assertIn("Interrupted", page)
            self.assertNotIn("late", page.replace("translate", "").replace("template", ""))

    def test_a_run_without_cases_is_a_page_without_figures(self):
        page, text = self.pages([RUN, {**END, "exit_code": 3}])
        self.assertIn("No Case was judged", page)
        self.assertIn("No Case was judged", text)
        self.assertNotIn("<svg", page)

    def test_a_run_in_which_nothing_returned_is_a_page_without_figures(self):
        page, _ = self.pages([RUN, case(0, "shy", "unsupported", "fp32"), {**END, "exit_code": 3}])
        self.assertNotIn("<svg", page)
        self.assertIn("fp32 (1)", page)

    def test_extreme_numbers_are_drawn(self):
        extremes = [(0.0, 0.0), (5e-324, 5e-324), (1e300, 1e300), ("inf", "inf"), ("inf", "nan")]
        records = [RUN, *(case(i, "one", "rejected", tensors=[tensor("out", used, error=error)])
                          for i, (used, error) in enumerate(extremes)), END]
        page, _ = self.pages(records)
        self.assertEqual(page.count("<svg"), 6)
        self.assertIn("3 of 5 have no error or no finite bound", page)

    def test_a_missing_file_is_refused_in_one_sentence(self):
        self.assert_refused(f"there is no {self.folder / 'results.jsonl'}")

    def test_an_empty_file_is_refused(self):
        self.write([])
        self.assert_refused("holds no whole record")

    def test_a_broken_line_is_refused_by_number(self):
        self.write([RUN], rest="{\n" + json.dumps(END) + "\n")
        self.assert_refused("line 2, is no JSON")
        self.write([RUN, {"record": "note"}])
        self.assert_refused("line 2, is no record")

    def test_a_record_of_another_form_is_refused_by_line_and_field(self):
        self.write([RUN, {**NOT_RUN, "why": 1}])
        self.assert_refused("line 2, does not fit the schema at why")

    def test_two_runs_in_one_file_are_refused(self):
        self.write([RUN, END, RUN, END])
        self.assert_refused("is not one run")
        self.write([NOT_RUN, END])
        self.assert_refused("is not one run")
        self.write([RUN, END, NOT_RUN])
        self.assert_refused("is not one run")

    def test_a_page_that_cannot_be_written_is_refused_and_nothing_is_left(self):
        self.write(whole_run())
        (self.folder / "report.html" / "inside").mkdir(parents=True)
        code, err = self.render()
        self.assertEqual(code, 2)
        self.assertIn("report.html cannot be written", err)
        names = sorted(path.name for path in self.folder.iterdir())
        self.assertEqual(names, ["report.html", "results.jsonl"])

    def test_help_shows_an_example(self):
        out = io.StringIO()
        with contextlib.redirect_stdout(out), self.assertRaises(SystemExit) as ended:
            render.main(["--help"])
        self.assertEqual(ended.exception.code, 0)
        self.assertIn("render.py report", out.getvalue())


if __name__ == "__main__":
    unittest.main()
