"""Cells of the race, each with all sides' times and own / the fastest peer's. Pure, tested by test_race.py."""

import statistics
from collections import namedtuple

from intervals import ratio
from sides import ALL, BF16, F32

# A network in one phase, against the peers of one precision. `times` has the median of each side, `own` and `peer` are the names of the
# fastest on either side, `ratio` is of these two: (ratio, low, high).
Cell = namedtuple("Cell", "backbone method phase precision times own peer pairs ratio")
WON, OPEN, LOST = "won", "open", "lost"


def verdict(cell):
    """Lost as soon as the ratio is above 1; won where the whole interval is below; open where it is not, or there is none."""
    value, _, high = cell.ratio
    if value > 1:
        return LOST
    return WON if high is not None and high < 1 else OPEN


def own_against(precision, sides):
    """The own sides that race in a precision: f32 against f32, and against bf16 the best that there is."""
    own = [side for side in sides if side.own]
    return [side.name for side in own if side.precision == F32 or precision == BF16]


def cells(times, sides):
    """A cell for each network, phase and precision that has been raced on both sides, in the order of phases and sides."""
    runs = {}
    for time in times:
        runs.setdefault((time.backbone, time.method, time.phase), {}).setdefault(time.side, {})[time.turn] = time.ms
    found = []
    for precision in (F32, BF16):
        for (backbone, method, phase), by_side in sorted(runs.items(), key=lambda item: ALL.index(item[0][2])):
            medians = {name: statistics.median(by_turn.values()) for name, by_turn in by_side.items()}
            own = [name for name in own_against(precision, sides) if name in medians]
            peers = [s.name for s in sides if not s.own and s.precision == precision and s.name in medians]
            if own and peers:
                mine, theirs = min(own, key=medians.get), min(peers, key=medians.get)
                turns = sorted(set(by_side[mine]) & set(by_side[theirs]))
                pairs = [(by_side[mine][turn], by_side[theirs][turn]) for turn in turns]
                shown = {name: medians[name] for name in own + peers}
                found.append(Cell(backbone, method, phase, precision, shown, mine, theirs, pairs, ratio([pairs])))
    return found


def means(cells):
    """(precision, phase, number of cells, ratio): geometric means over all networks."""
    found = []
    for precision in (F32, BF16):
        for phase in ALL:
            pairs = [cell.pairs for cell in cells if (cell.precision, cell.phase) == (precision, phase)]
            if pairs:
                found.append((precision, phase, len(pairs), ratio(pairs)))
    return found
