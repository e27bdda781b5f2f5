"""Tests of all that is pure here: python3 -m unittest discover -s harness/benches/race"""

import doctest
import subprocess
import sys
import unittest
from types import SimpleNamespace

import intervals
import machine
import page
import passes
import sides
import table
from passes import Memory, Time

RACED = [side for side in sides.SIDES if side.name in ("harness", "torch", "onnxruntime", "torch-bf16")]


def times(**by_side):
    """Of one network's inference of one image: each side's milliseconds by pass."""
    return [
        Time(turn, name.replace("_", "-"), "resnet20", "ghost", sides.ONE, ms)
        for name, passes in by_side.items()
        for turn, ms in enumerate(passes)
    ]


class Statistics(unittest.TestCase):
    def test_examples_in_the_modules_hold(self):
        for module in (intervals, machine, page):
            found = doctest.testmod(module)
            self.assertEqual(found.failed, 0, module.__name__)
            self.assertGreater(found.attempted, 0, module.__name__)

    def test_what_slows_both_sides_of_a_pass_does_not_widen_the_interval(self):
        moods = [1, 3, 2, 7, 1, 4, 2]
        self.assertEqual(intervals.ratio([[(mood, 2 * mood) for mood in moods]]), (0.5, 0.5, 0.5))

    def test_an_interval_holds_its_ratio_and_grows_with_the_spread(self):
        calm = intervals.ratio([[(one, 1) for one in (0.98, 0.99, 1.0, 1.01, 1.02)]])
        wild = intervals.ratio([[(one, 1) for one in (0.5, 0.8, 1.0, 1.2, 2.0)]])
        for value, low, high in (calm, wild):
            self.assertTrue(low < value < high)
        self.assertLess(calm[2] - calm[1], wild[2] - wild[1])


class Cells(unittest.TestCase):
    def verdict(self, own, theirs):
        (cell,) = table.cells(times(harness=own, onnxruntime=theirs), RACED)
        return table.verdict(cell)

    def test_a_cell_is_lost_above_1_and_won_only_with_its_whole_interval(self):
        self.assertEqual(self.verdict([1, 1.1, 1], [2, 2, 2]), table.WON)
        self.assertEqual(self.verdict([2.1, 2, 2.1], [2, 2.1, 2]), table.LOST)
        self.assertEqual(self.verdict([1, 1, 3], [2, 2, 2]), table.OPEN)
        self.assertEqual(self.verdict([1, 1], [2, 2]), table.OPEN, "two passes have no interval")

    def test_the_fastest_peer_counts_and_precisions_are_apart(self):
        raced = times(harness=[2] * 3, torch=[4] * 3, onnxruntime=[3] * 3, torch_bf16=[1] * 3)
        f32, bf16 = table.cells(raced, RACED)
        self.assertEqual((f32.precision, f32.peer, set(f32.times)), ("f32", "onnxruntime", {"harness", "torch", "onnxruntime"}))
        self.assertEqual((bf16.precision, bf16.peer, table.verdict(bf16)), ("bf16", "torch-bf16", table.LOST))

    def test_own_bf16_races_against_bf16_alone(self):
        (own,) = [side for side in sides.SIDES if side.name == "harness-bf16"]
        raced = times(harness=[2] * 3, harness_bf16=[1] * 3, torch=[4] * 3, torch_bf16=[3] * 3)
        f32, bf16 = table.cells(raced, [*RACED, own])
        self.assertEqual((f32.own, bf16.own), ("harness", "harness-bf16"))
        self.assertEqual([f32.ratio[0], round(bf16.ratio[0], 3)], [0.5, 0.333])

    def test_phases_without_a_peer_have_no_cell(self):
        self.assertEqual(table.cells(times(harness=[1]), RACED), [])


class Page(unittest.TestCase):
    def setUp(self):
        self.cells = table.cells(times(harness=[2, 2, 2], torch=[1, 1, 1], torch_bf16=[4, 4, 4]), RACED)
        self.means = table.means(self.cells)

    def test_lost_cells_and_absent_sides_are_named(self):
        facts = {
            "title": "Some Processor (avx2)", "command": "race", "machine": ["two threads"], "precisions": {"torch": "f32"},
            "sides": [("torch", "2.0", "1e-06 (ghost)")], "absent": [("tract", "not built")],
            "memory": [Memory("harness", "resnet20", "ghost", 321.4)],
        }  # fmt: skip
        text = page.page(facts, self.means, self.cells, 128)
        self.assertIn("**2.00 [2.00, 2.00] lost** torch", text)
        self.assertIn("Lost, 1 of 2 cells:\n\n- resnet20 ghost, inference, 1 image: 2.00 [2.00, 2.00] against torch\n", text)
        self.assertIn("- tract: not built", text)
        self.assertIn("| resnet20 | ghost | 321 |", text)
        self.assertIn("0.50 [0.50, 0.50] torch-bf16", text)

    def test_the_readme_has_one_paragraph_for_each_machine(self):
        text = "head\n<!-- races -->\ntail\n"
        one = page.put_in_readme(text, "one", "One", "first")
        two = page.put_in_readme(one, "two", "Two", "second")
        again = page.put_in_readme(two, "one", "One", r"third \1")
        self.assertEqual(again, two.replace("first", r"third \1"))
        self.assertLess(again.index("race: one"), again.index("race: two"))
        self.assertTrue(again.endswith("tail\n"))
        self.assertEqual(page.put_in_readme("no marks", "one", "One", "first"), "no marks")


class Hanging(unittest.TestCase):
    def test_a_side_that_answers_nothing_is_ended(self):
        side = passes.Python(None, SimpleNamespace(threads=1, patience=0.2))
        side.process.kill()
        side.process.wait()
        side.process.stdin.close()
        side.process.stdout.close()
        # A process that reads and never answers.
        command = [sys.executable, "-c", "import sys; [None for _ in sys.stdin]"]
        side.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        with self.assertRaisesRegex(passes.Failed, "`check`, or was ended after 0.2 s"):
            side.ask("check")
        side.close()


class Sides(unittest.TestCase):
    def test_whoever_does_not_run_is_named_with_a_reason(self):
        for names, quick in ((None, False), (None, True), (["openvino"], False)):
            run, absent = sides.chosen(names, quick)
            self.assertEqual({s.name for s in run} | set(absent), {s.name for s in sides.SIDES} | set(sides.NOT_RACED))
            self.assertTrue(any(side.own for side in run))

    def test_an_unknown_side_is_an_error_that_says_which_there_are(self):
        with self.assertRaisesRegex(ValueError, "found tensorflow, accepted: harness, "):
            sides.chosen(["tensorflow"], False)

    def test_names_are_unique_and_every_precision_has_a_bound(self):
        self.assertEqual(len({side.name for side in sides.SIDES}), len(sides.SIDES))
        self.assertTrue(all(side.precision in sides.BOUNDS for side in sides.SIDES))


if __name__ == "__main__":
    unittest.main()
