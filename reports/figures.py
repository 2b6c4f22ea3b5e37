"""Draws a run's figures as SVG that stands in a page and takes the page's colours.

Colours are drawn as stand-ins and replaced by CSS variables, so that one drawing serves light and
dark; a dtype has its colour and its marker, so that no figure depends on colour alone. Text stays
text. The same run always gives the same bytes.
"""
import io
import math
import re

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from records import bound_used, number

# CSS variable of the page -> stand-in colour in the drawing.
INK, FAINT, REJECTED, BAR = "#010203", "#040506", "#070809", "#1c1d1e"
WAIT, MERGE = "#1f2021", "#222324"
DTYPES = {"fp64": ("#0a0b0c", "D"), "fp32": ("#0d0e0f", "o"), "fp16": ("#101112", "^"),
          "bf16": ("#131415", "s"), "fp8_e4m3": ("#161718", "v"), "fp8_e5m2": ("#191a1b", "P")}
VARIABLES = {INK: "--ink", FAINT: "--faint", REJECTED: "--rejected", BAR: "--bar",
             WAIT: "--inconclusive", MERGE: "--bf16",
             **{colour: f"--{dtype}" for dtype, (colour, _) in DTYPES.items()}}
SETTINGS = {"svg.fonttype": "none", "text.parse_math": False, "font.size": 9,
            "axes.edgecolor": FAINT, "axes.labelcolor": INK, "text.color": INK,
            "xtick.color": INK, "ytick.color": INK, "xtick.labelcolor": INK,
            "ytick.labelcolor": INK, "axes.spines.top": False, "axes.spines.right": False}
WIDE_INCHES, NARROW_INCHES = 8.6, 3.9
# Shares of a bound beyond these are drawn at them: all say "nearly exact", or "wrong".
USED_MIN, USED_MAX = 1e-6, 1e9
VALUE_MIN, VALUE_MAX = 1e-30, 1e30  # of errors and bounds, likewise


def svg_of(name, draw, width_inches, height_inches):
    """`draw(axes, is_narrow)` as SVG text whose ids begin with what is unique to `name`."""
    is_narrow = width_inches == NARROW_INCHES
    with matplotlib.rc_context({**SETTINGS, "svg.hashsalt": f"{name} {width_inches}"}):
        figure = Figure(figsize=(width_inches, height_inches), layout="constrained")
        draw(figure.add_subplot(), is_narrow)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True,
                       metadata={"Date": None, "Creator": None, "Type": None, "Format": None})
    text = buffer.getvalue()
    text = text[text.index("<svg"):]
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    return re.sub(r'(<svg[^>]*?) width="[^"]*"| height="[\d.]+pt"', r"\1", text, count=2)


def both_widths(name, draw, height_inches, height_narrow_inches=None):
    """The drawing for a desktop and for a phone; the page shows the one that fits."""
    narrow = height_narrow_inches or height_inches
    return {"wide": svg_of(name, draw, WIDE_INCHES, height_inches),
            "narrow": svg_of(name, draw, NARROW_INCHES, narrow)}


def legend(axes, points, is_narrow):
    """What the marks of `points` mean, above the drawing."""
    for dtype in [d for d in DTYPES if any(point[0] == d for point in points)]:
        colour, marker = DTYPES[dtype]
        axes.scatter([], [], color=colour, marker=marker, s=22, label=dtype)
    if any(is_outside for *_, is_outside in points):
        axes.scatter([], [], facecolors="none", edgecolors=REJECTED, s=70, label="outside")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4 if is_narrow else 8, frameon=False,
                borderaxespad=0, handletextpad=0.4, columnspacing=1.2)


def spread(index):
    """Where dot `index` of a row lies across it: the fractional parts of the golden ratio."""
    return (index * 0.6180339887498949) % 1 * 0.6 - 0.3


def scatter_points(axes, points, size):
    """Marks (dtype, x, y, is outside its bound): by dtype, those outside ringed."""
    for dtype, (colour, marker) in DTYPES.items():
        mine = [(x, y) for name, x, y, _ in points if name == dtype]
        axes.scatter([x for x, _ in mine], [y for _, y in mine], color=colour, marker=marker,
                     s=size, alpha=0.8, linewidths=0)
    ringed = [(x, y) for _, x, y, is_outside in points if is_outside]
    axes.scatter([x for x, _ in ringed], [y for _, y in ringed], facecolors="none",
                 edgecolors=REJECTED, s=70, linewidths=1.4)


def draw_bound_used(axes, is_narrow, cases):
    """One row per candidate, one dot per judged Case; the line is where a bound is used up."""
    shown = [(case, bound_used(case)) for case in cases]
    shown = [(case, used) for case, used in shown if used is not None]
    candidates = list(dict.fromkeys(case["candidate"] for case, _ in shown))
    finite = [min(max(used, USED_MIN), USED_MAX) for _, used in shown if 0 < used < math.inf]
    exponent_low = math.floor(math.log10(min([*finite, 0.01])))
    exponent_high = math.ceil(math.log10(max([*finite, 2.0])))
    low, high = 10.0 ** exponent_low, 10.0 ** exponent_high
    zero_at, infinite_at = low / 3, high * 3
    at = {0: zero_at, math.inf: infinite_at}
    points = [(case["dtype"], at.get(used, min(max(used, USED_MIN), USED_MAX)),
               candidates.index(case["candidate"]) + spread(index), not used <= 1)
              for index, (case, used) in enumerate(shown)]
    axes.axvline(1, color=INK, linewidth=1, zorder=0, label="error = bound")
    scatter_points(axes, points, 16)
    axes.set_xscale("log")
    step = math.ceil((exponent_high - exponent_low) / (5 if is_narrow else 10))
    exponents = [e for e in range(exponent_low, exponent_high + 1) if e % step == 0]
    ticks = [zero_at, *(10.0 ** e for e in exponents), infinite_at]
    labels = ["0", *("1" if e == 0 else f"1e{e}" for e in exponents), "inf"]
    axes.set_xticks(ticks, labels)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlim(zero_at / 2, infinite_at * 2 if any(u == math.inf for _, u in shown) else high)
    axes.set_yticks(range(len(candidates)), ["" if is_narrow else name for name in candidates])
    axes.set_ylim(len(candidates) - 0.4, -0.7 if is_narrow else -0.6)
    if is_narrow:
        for row, name in enumerate(candidates):
            axes.annotate(name, (0, row - 0.45), xycoords=("axes fraction", "data"), fontsize=8)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("bound used: error / bound of the worst element")
    legend(axes, points, is_narrow)


def worst_elements(cases):
    """(case, error, bound) of each judged tensor's worst element that both axes can show."""
    found = [(case, number(tensor["error"]), number(tensor["bound"]))
             for case in cases for tensor in case["tensors"]]
    return [(case, *(min(max(x, VALUE_MIN), VALUE_MAX) for x in (error, bound)))
            for case, error, bound in found if 0 < error < math.inf and 0 < bound < math.inf]


def draw_error_against_bound(axes, is_narrow, cases):
    """One dot per tensor: what lies above the diagonal is outside its bound."""
    shown = worst_elements(cases)
    points = [(case["dtype"], bound, error, not error <= bound) for case, error, bound in shown]
    scatter_points(axes, points, 14)
    axes.set_xscale("log")
    axes.set_yscale("log")
    ends = [value for _, error, bound in shown for value in (error, bound)]
    low, high = min(ends) / 3, max(ends) * 3
    axes.plot([low, high], [low, high], color=INK, linewidth=1, zorder=0,
              label="error = bound")
    axes.set_xlim(low, high)
    axes.set_ylim(low, high)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(numticks=6 if is_narrow else 9))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(lambda value, _: f"{value:.0e}".replace("e-0", "e-"))
    axes.set_xlabel("bound (unit of the tensor)")
    axes.set_ylabel("error of the worst element (unit of the tensor)")
    legend(axes, points, is_narrow)


def seconds_of(cases):
    """Seconds per candidate, and of the reference, which is made once for all of them."""
    seconds = {}
    for case in cases:
        name = case["candidate"]
        seconds[name] = seconds.get(name, 0) + number(case["candidate_ms"]) / 1000
    once = {(case["case"], case["reference_ms"]) for case in cases}
    return {"reference": math.fsum(number(ms) for _, ms in once) / 1000, **seconds}


def draw_time(axes, is_narrow, cases):
    seconds = seconds_of(cases)
    names = list(seconds)
    rows = range(len(names))
    axes.barh(rows, [seconds[name] for name in names], height=0.45,
              color=[FAINT, *[BAR] * (len(names) - 1)])
    for row, name in zip(rows, names):
        axes.annotate(f"{seconds[name]:.3g} s", (seconds[name], row), xytext=(4, 0),
                      textcoords="offset points", va="center", fontsize=8)
        if is_narrow:
            axes.annotate(name, (0, row - 0.3), xycoords=("axes fraction", "data"), fontsize=8)
    axes.set_yticks(rows, ["" if is_narrow else name for name in names])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(names) - 0.5, -0.7)
    axes.set_xlim(0, max([*seconds.values(), 1e-9]) * 1.15)
    axes.set_xlabel("time of all calls, s of wall clock")


TIMELINE_PARTS = (("wait_ms", "exposed wait", WAIT), ("other_ms", "packing, writing", FAINT),
                  ("compute_ms", "compute", BAR), ("merge_ms", "merge", MERGE))
RANKS_DRAWN_MAX = 16


def draw_timeline(axes, is_narrow, ranks):
    """A row per rank, a group of bars per step: what it waited for, computed and merged."""
    drawn = ranks[:RANKS_DRAWN_MAX]
    spans = {key: [] for key, *_ in TIMELINE_PARTS}  # rows of (left, width), by rank
    begins = []
    for row, rank in enumerate(drawn):
        for spans_of_rank in spans.values():
            spans_of_rank.append([])
        for step in rank["steps"]:
            left = number(step["begin_ms"])
            begins.append((left, row))
            for key, *_ in TIMELINE_PARTS:
                spans[key][row].append((left, number(step[key])))
                left += number(step[key])
    for key, label, colour in TIMELINE_PARTS:
        for row, spans_of_rank in enumerate(spans[key]):
            axes.broken_barh(spans_of_rank, (row - 0.31, 0.62), facecolors=colour, linewidth=0)
        axes.scatter([], [], color=colour, marker="s", s=40, label=label)
    axes.vlines([left for left, _ in begins], [row - 0.42 for _, row in begins],
                [row + 0.42 for _, row in begins], color=INK, linewidth=0.8)
    axes.scatter([], [], color=INK, marker="|", s=60, linewidths=0.8, label="step begins")
    axes.set_yticks(range(len(drawn)), [f"{row}" for row in range(len(drawn))])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(drawn) - 0.4, -0.6)
    axes.set_ylabel("rank")
    axes.set_xlim(left=0)
    axes.set_xlabel("ms from the start of each rank")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2 if is_narrow else 5, frameon=False,
                borderaxespad=0, handletextpad=0.4, columnspacing=1.2)


def timeline(record):
    """The drawings of one record of ranks; nothing where no rank was timed."""
    if not any(rank["steps"] for rank in record["ranks"]):
        return {}
    height = 0.9 + 0.26 * min(len(record["ranks"]), RANKS_DRAWN_MAX)
    return both_widths(f"timeline {record['candidate']} {record['topology']}",
                       lambda a, n: draw_timeline(a, n, record["ranks"]), height, height + 0.4)


def make_figures(cases):
    """Title, caption and drawings of each figure that this run can fill."""
    judged = [case for case in cases if case["tensors"]]
    if not judged:
        return []
    count = len({case["candidate"] for case in judged})
    figures = [{
        "title": "Bound used per Case",
        "caption": "One mark per judged Case. Right of the line at 1 an error exceeds its bound: "
                   "rejected. At 0 there is no error at all; shares below 1e-6 are drawn at 1e-6, "
                   "those above 1e9 at 1e9.",
        **both_widths("used", lambda a, n: draw_bound_used(a, n, judged), 1.1 + 0.75 * count,
                      1.3 + 0.8 * count)}]
    drawn = worst_elements(judged)
    tensors = sum(len(case["tensors"]) for case in judged)
    if drawn:
        figures.append({
            "title": "Error against bound",
            "caption": "The worst element of each tensor of each judged Case; above the line it is "
                       "outside its bound. "
                       f"{tensors - len(drawn)} of {tensors} have no error or no finite bound "
                       "and are not drawn.",
            **both_widths("error", lambda a, n: draw_error_against_bound(a, n, judged), 4.6, 3.9)})
    figures.append({
        "title": "Time",
        "caption": "Of the calls alone. The double-precision reference is made once for all "
                   "candidates; kernels on the host runtime run far slower than on a GPU.",
        **both_widths("time", lambda a, n: draw_time(a, n, judged), 0.9 + 0.35 * (count + 1),
                      0.8 + 0.5 * (count + 1))})
    return figures
