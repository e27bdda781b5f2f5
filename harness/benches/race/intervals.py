"""Medians, ratios and how sure they are. Pure, tested by test_race.py."""

import math
import random
import statistics

DRAWS = 2000


def quantile(values, q):
    """By linear interpolation; `values` in any order.

    >>> quantile([3, 1, 2], 0.5), quantile([0, 10], 0.25)
    (2.0, 2.5)
    """
    values = sorted(values)
    place = q * (len(values) - 1)
    low = math.floor(place)
    high = min(low + 1, len(values) - 1)
    return values[low] + (values[high] - values[low]) * (place - low)


def geometric_mean(values):
    """
    >>> round(geometric_mean([0.5, 2.0]), 12)
    1.0
    """
    return math.exp(statistics.fmean(math.log(value) for value in values))


def ratio(cells):
    """The ratio own / theirs of several cells and its 95 % interval, (ratio, low, high); `cells` has for each cell its pairs of times,
    one a pass.

    A cell's ratio is the median over the passes of own / theirs, and several cells' the geometric mean of theirs. The interval is the
    percentile bootstrap over passes, the unit that may differ by a machine's mood: passes are drawn with replacement, the same ones
    for all cells, as what slows one cell of a pass may slow the others. With fewer than three passes there is none.

    >>> ratio([[(1, 2), (1, 2), (1, 2)]])
    (0.5, 0.5, 0.5)
    >>> ratio([[(1, 2)], [(2, 1)]])
    (1.0, None, None)
    """
    cells = [[own / theirs for own, theirs in pairs] for pairs in cells]
    value = round(geometric_mean(map(statistics.median, cells)), 12)
    passes = min(map(len, cells))
    if passes < 3:
        return value, None, None
    # The same numbers give the same page.
    chance, drawn = random.Random(0), []
    for _ in range(DRAWS):
        places = chance.choices(range(passes), k=passes)
        drawn.append(geometric_mean([statistics.median([cell[place] for place in places]) for cell in cells]))
    return value, round(quantile(drawn, 0.025), 12), round(quantile(drawn, 0.975), 12)
