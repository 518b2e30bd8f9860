"""What people see of results.json: the README's tables, docs/figures.md, and the chart."""

from __future__ import annotations

from pathlib import Path

from common import Figure, table

ROOT = Path(__file__).resolve().parent.parent
README, PAGE = ROOT / "README.md", ROOT / "docs" / "figures.md"
BEGIN, END = "<!-- figures -->\n", "<!-- end of figures -->\n"
OTHERS_BEGIN, OTHERS_END = "<!-- others -->\n", "<!-- end of others -->\n"
# Of each of the ways that people ask for: what it needs.
NEEDS = {
    "stdevents": "only this package",
    "Redis pub/sub": "a server, and a client",
    "ZeroMQ PUB/SUB": "a compiled library, sockets",
    "Manager().Queue each": "a server process; posters know all queues",
    "multiprocessing.Queue each": "a common parent; posters know all queues",
}

INTRODUCTION = """# Figures

All that `benchmarks/` measures. `tox -e bench -- full`, on a machine that does nothing else, takes
all figures anew and writes this page, the README's tables and the chart; nothing here is written by
hand. `python -m stdevents bench` takes those that need only the package.

{about}

![CPU and events a second, to 4 workers, beside other ways](../benchmarks/chart.svg)

## Beside a yardstick

Each ratio is one within this run, in which what is compared took turns: the best round of each, and
the medians of all rounds. A goal is met by the best. "Post" and "deliver" are the calls alone, in
one process; a delivery includes the call of a handler. "Events to 4 workers" go the whole way, by
five processes, from `post` into the handlers of four.

{figures}
## Beside other ways

CPU is that of poster, workers and servers together, for one event to all 4 workers. A second ends
when the last worker has the last event. A first burst of the same size warms each up. A batch of
100 is `post_many` to stdevents, to which it is a hundred events; to the others it is one message,
the JSON of a list, which is the least that they can do. "One order": all workers get the events of
several posters in the same order. "A slow worker" is told which events it lost (or posters wait for
it, with `overflow="wait"`); or it holds up the poster; or its backlog grows; or it loses events and
hears nothing of it.
"""
THREADS = """
## Threads

Two threads of one process beside one, with two cores. Those that share a bus wait for its lock, as
processes do.

| | what | best | median | two | one |
|---|---|---|---|---|---|
"""
SIDES = """
### {length}, {how}

| | CPU µs an event, best | median | events a second, best | median | one order | a slow worker |
|---|---|---|---|---|---|---|
"""


WAKE = "wake the last of 4 workers, median"
MEMORY = "private KiB that a worker adds, loop and all"


def about(result):
    """On what, and by which command."""
    return "By `{command}`, with {python}, on {machine}, {system}; load average {load}.".format(
        **result
    )


def how(side):
    """One at a time, or in batches."""
    return "one at a time" if side["batch"] == 1 else f"in batches of {side['batch']}"


def by_cpu(rows):
    """Of one side, the most frugal first."""
    return sorted(rows.items(), key=lambda item: item[1]["cpu"][0])


def page(result):
    """docs/figures.md."""
    figures = "".join(f"{line}\n" for line in table([Figure(**one) for one in result["figures"]]))
    text = INTRODUCTION.format(about=about(result), figures=figures)
    for side in result["delivered"]:
        text += SIDES.format(length=f"{side['length']} bytes", how=how(side))
        for title, row in by_cpu(side["rows"]):
            (best, middle), (most, usual) = row["cpu"], row["rate"]
            order = "yes" if row["ordered"] else "no"
            text += f"| {title} | {best:.1f} | {middle:.1f} | {most:,.0f} | {usual:,.0f} |"
            text += f" {order} | {row['slow']} |\n"
    text += THREADS
    for side in result["threads"]:
        for one in (Figure(**figure) for figure in side["figures"]):
            text += f"| {side['how']} | {one.what} | {one.best:.2f} | {one.median:.2f} |"
            text += f" {one.ours} | {one.theirs} |\n"
    return text


def for_users(result):
    """The README's table: what a person asks first."""
    figures = {}
    for one in result["figures"]:
        figures.setdefault(one["what"], one)  # of several yardsticks the first

    def beside(what):
        one = figures[what]
        return one["ours"], f"{one['against']}: {one['theirs']}"

    cpu, rate = "events to 4 workers for a CPU second, ", "events to 4 workers a second, "
    small, large = "60 bytes, one at a time: stdevents", "4096 bytes, one at a time: stdevents"
    batch = "60 bytes, 100 at once: stdevents"
    idle = next(what for what in figures if "idle" in what)
    rows = [
        ("CPU for an event to 4 workers, in all", *beside(cpu + small)),
        ("events a second to 4 workers", *beside(rate + small)),
        ("CPU for one of 100 events in a batch", *beside(cpu + batch)),
        ("CPU for an event of 4 KiB", *beside(cpu + large)),
        ("until the last of 4 sleeping workers has it, median", *beside(WAKE)),
        ("a post, with 64 workers attached", *beside("post, with 64 workers attached")),
        (
            "of a core, for 8 idle workers",
            figures[idle]["ours"],
            f"processes {figures[idle]['theirs']}",
        ),
        ("memory of a worker, without Python's modules", figures[MEMORY]["ours"], ""),
    ]
    yield "| | stdevents | beside it |"
    yield "|---|---|---|"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def for_readme(result):
    """What stands between the README's marks."""
    lines = f"{about(result)} Each figure is of the best round.", "", *for_users(result), ""
    return "\n".join(lines)


def others(result):
    """What stands between the README's other marks: why not the ways that people ask for?"""
    rows = result["delivered"][0]["rows"]  # small events, one at a time
    text = (
        "| to 4 workers | it needs | one order | a slow worker | CPU an event | events a second |\n"
    )
    text += "|---|---|---|---|---|---|\n"
    for title, needs in NEEDS.items():
        if title not in rows:  # it was not to be had
            continue
        row = rows[title]
        order = "yes" if row["ordered"] else "no"
        text += f"| {title} | {needs} | {order} | {row['slow']} |"
        text += f" {row['cpu'][0]:.1f} µs | {row['rate'][0]:,.0f} |\n"
    return text


def between(text, begin, end, new):
    """The text, with what is new between two marks."""
    before, rest = text.split(begin)
    return before + begin + new + end + rest.split(end)[1]


def write(result):
    """README and page anew."""
    text = README.read_text(encoding="utf-8")
    text = between(text, BEGIN, END, for_readme(result))
    text = between(text, OTHERS_BEGIN, OTHERS_END, others(result))
    README.write_text(text, encoding="utf-8")
    PAGE.write_text(page(result), encoding="utf-8")


# -- the chart -------------------------------------------------------------------------------------

OURS, OTHERS = "#2a6fb0", "#b8bec6"
LONGEST = 5  # times ours: a bar that is longer is cut


def shown(result):
    """What the chart shows: titles, the most frugal first, and of each side its labels."""
    sides = [side for side in result["delivered"] if side["length"] < 1000]
    titles = [title for title, _ in by_cpu(sides[0]["rows"])]
    columns = []
    for side in sides:
        for key, what in (("cpu", "CPU µs an event"), ("rate", "events a second")):
            rows = side["rows"]
            values = [rows[title][key][0] if title in rows else 0 for title in titles]
            digits = ".1f" if key == "cpu" else ",.0f"
            columns.append((f"{what},\n{how(side)}", values, [f"{one:{digits}}" for one in values]))
    return titles, sides[0]["rows"], columns


def draw(result, path):
    """A row for each transport, a bar for each of its figures."""
    import matplotlib

    matplotlib.use("svg")
    # The same file for the same figures, and text that stays text.
    matplotlib.rcParams.update({"svg.hashsalt": "stdevents", "svg.fonttype": "none"})
    from matplotlib import pyplot

    titles, rows, columns = shown(result)
    colours = [OURS if rows[title]["ours"] else OTHERS for title in titles]
    figure, sides = pyplot.subplots(
        1, len(columns), sharey=True, figsize=(12, 0.6 + 0.3 * len(titles))
    )
    for side, (heading, values, labels) in zip(sides, columns):
        ours = [value for value, colour in zip(values, colours) if colour == OURS]
        longest = min(max(values), LONGEST * min(ours)) if "CPU" in heading else max(values)
        side.barh(titles, [min(value, longest) for value in values], color=colours)
        for at, (value, label) in enumerate(zip(values, labels)):
            text, end = (label, value) if value <= longest else (f"{label} ›", longest)
            near = {"textcoords": "offset points", "va": "center", "fontsize": 8}
            side.annotate(text, (end, at), (3, 0), **near)
        side.annotate(heading, (0, -0.85), va="bottom", fontsize=9, annotation_clip=False)
        side.set_xlim(0, 1.45 * longest)
        side.xaxis.set_visible(False)
        side.tick_params(length=0, labelsize=9)
        side.spines[["top", "right", "bottom"]].set_visible(False)
    sides[0].invert_yaxis()
    marks = {
        "one\norder": ["yes" if rows[title]["ordered"] else "–" for title in titles],
        "a slow\nworker": [rows[title]["slow"] for title in titles],
    }
    for (heading, words), points in zip(marks.items(), (-172, -138)):  # from the first bars' left
        place = {"xycoords": sides[0].get_yaxis_transform(), "textcoords": "offset points"}
        sides[0].annotate(heading, (0, -0.85), (points, 0), va="bottom", fontsize=9, **place)
        for at, word in enumerate(words):
            sides[0].annotate(word, (0, at), (points, 0), va="center", fontsize=8, **place)
    sides[0].tick_params(pad=190)
    figure.savefig(path, metadata={"Date": None}, bbox_inches="tight")
