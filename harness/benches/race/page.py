"""The page of a machine and the README's paragraph, as Markdown. Pure, tested by test_race.py."""

import re

from sides import ALL, BATCH, BF16, F32, SIDES
from table import LOST, OPEN, verdict

MARKS = {LOST: "**{} lost**", OPEN: "{} ~"}
TITLES = {F32: "f32 against f32", BF16: "own best against bf16"}


def in_words(phase, batch):
    return phase.replace(BATCH, f"inference, {batch} images")


def digits(number):
    return "" if number is None else f"{number:.2f}" if number < 10 else f"{number:.1f}" if number < 100 else f"{number:.0f}"


def interval(ratio):
    value, low, high = ratio
    return f"{value:.2f}" if low is None else f"{value:.2f} [{low:.2f}, {high:.2f}]"


def marked(cell):
    return MARKS.get(verdict(cell), "{}").format(interval(cell.ratio)) + f" {cell.peer}"


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "| " + " | ".join(["---"] * 2 + ["---:"] * (len(head) - 2)) + " |"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def networks(cells):
    return list(dict.fromkeys((cell.backbone, cell.method) for cell in cells))


def verdicts(cells, batch):
    """The one table: a row a network, a column for each precision and phase."""
    columns = [(precision, phase) for precision in (F32, BF16) for phase in ALL]
    columns = [key for key in columns if any((cell.precision, cell.phase) == key for cell in cells)]
    by_place = {(cell.backbone, cell.method, cell.precision, cell.phase): cell for cell in cells}
    rows = []
    for network in networks(cells):
        found = [by_place.get((*network, *column)) for column in columns]
        rows.append([*network, *(marked(cell) if cell else "" for cell in found)])
    return table(["network", "method", *(f"{TITLES[p]}: {in_words(phase, batch)}" for p, phase in columns)], rows)


def milliseconds(cells, batch):
    """Every side's time, a table for each precision and phase."""
    parts = []
    for precision in (F32, BF16):
        for phase in ALL:
            here = [cell for cell in cells if (cell.precision, cell.phase) == (precision, phase)]
            if not here:
                continue
            raced = {name for cell in here for name in cell.times}
            names = [side.name for side in SIDES if side.name in raced]
            rows = [[c.backbone, c.method, *(digits(c.times.get(name)) for name in names)] for c in here]
            head = ["network", "method", *(f"{side.name} ({side.precision})" for side in SIDES if side.name in raced)]
            parts.append(f"### {TITLES[precision]}: {in_words(phase, batch)}\n\n{table(head, rows)}")
    return "\n\n".join(parts)


def lost(cells, batch):
    """The cells that were lost, in words; the same for the page and for the README."""
    found = [cell for cell in cells if verdict(cell) == LOST]
    if not found:
        return "No cell is lost."
    names = [f"- {c.backbone} {c.method}, {in_words(c.phase, batch)}: {interval(c.ratio)} against {c.peer}" for c in found]
    return f"Lost, {len(found)} of {len(cells)} cells:\n\n" + "\n".join(names)


def summary(means, cells, batch):
    """Geometric means and the lost cells."""
    head = ["precision", "phase", "networks", "own / fastest peer"]
    rows = [[TITLES[p], in_words(phase, batch), str(count), interval(ratio)] for p, phase, count, ratio in means]
    return f"{table(head, rows)}\n\n{lost(cells, batch)}"


def peaks(memory):
    """MiB by network and side."""
    names = list(dict.fromkeys(one.side for one in memory))
    by_place = {(one.backbone, one.method, one.side): one.mib for one in memory}
    rows = [[*network, *(digits(by_place.get((*network, name))) for name in names)] for network in networks(memory)]
    return table(["network", "method", *names], rows) if memory else "Not measured."


def page(facts, means, cells, batch):
    """`facts`: title, command, machine (lines), sides (name, version, furthest from the reference), absent (name, why),
    memory."""
    sides = [[name, facts["precisions"][name], version, apart] for name, version, apart in facts["sides"]]
    absent = "\n".join(f"- {name}: {why}" for name, why in facts["absent"]) or "None."
    return f"""# The race on {facts['title']}

Written by `{facts['command']}`. How it is measured, and what the peers are told: [the race](README.md#the-race).

{chr(10).join('- ' + line for line in facts['machine'])}

Geometric means of own / the fastest peer (below 1: own is faster), with 95 % intervals:

{summary(means, cells, batch)}

## Cell by cell

Own / the fastest peer of that cell, its interval, and who that is. **Lost**: the ratio is above 1, whatever the interval. `~`: it is
below 1, and the interval is not, or there are too few passes for one.

{verdicts(cells, batch)}

## The sides

How far: the largest deviation of a logit from eager PyTorch's in f32, in parts of the largest logit, or of the first training step's loss
or gradient norm in parts of theirs; whoever is off by more than the bound does not race.

{table(['side', 'precision', 'version', 'how far'], sides)}

Absent:

{absent}

## Milliseconds

Medians over the passes.

{milliseconds(cells, batch)}

## Peak memory in training

MiB of a process that takes two training steps of {batch} images: the whole of the harness, and of PyTorch (NCHW) what comes on top of an idle
process that has loaded it.

{peaks(facts['memory'])}
"""


def put_in_readme(text, name, title, paragraph):
    """The README with the paragraph of this machine between its marks, `<!-- race: NAME -->` and `<!-- /race -->`; machines that have
    none are put behind the last one, or behind `<!-- races -->`.

    >>> put_in_readme("a\\n<!-- races -->\\nb\\n", "x", "X", "p").count("race: x")
    1
    """
    begin, end = f"<!-- race: {name} -->", "<!-- /race -->"
    block = f"{begin}\nOn [{title}](docs/performance/{name}.md):\n\n{paragraph}\n{end}"
    # A function, as the paragraph may hold what a pattern's replacement would take for a reference.
    text, count = re.subn(re.escape(begin) + ".*?" + re.escape(end), lambda _: block, text, count=1, flags=re.DOTALL)
    place = max((match.end() for match in re.finditer("<!-- /?races? -->", text)), default=None)
    if count or place is None:
        return text
    return f"{text[:place]}\n\n{block}{text[place:]}"
