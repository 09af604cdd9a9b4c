import contextlib
import io
import json
import unittest
from pathlib import Path

from textkit.cli import main
from textkit.report import report

HARBOUR = Path(__file__).parents[1] / "examples" / "harbour.txt"


def run(*arguments):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(list(arguments))
    return code, out.getvalue(), err.getvalue()


class Report(unittest.TestCase):
    def test_counts(self):
        found = report("The cat sat. The black cat walked home.")
        self.assertEqual((found.sentences, found.words, found.syllables), (2, 8, 8))
        self.assertEqual(found.words_per_sentence, 4.0)
        self.assertEqual(found.frequent, [("cat", 2), ("sat", 1), ("black", 1)])

    def test_reading_ease_is_fleschs_formula(self):
        found = report("The cat sat. The black cat walked home.")
        self.assertAlmostEqual(found.reading_ease, 206.835 - 1.015 * 4 - 84.6 * 1, places=1)

    def test_reading_time_is_at_230_words_a_minute(self):
        self.assertEqual(report("word " * 230).seconds, 60)
        self.assertEqual(report("word").seconds, 1)

    def test_an_empty_text_has_a_report_too(self):
        found = report("")
        self.assertEqual((found.sentences, found.words, found.words_per_sentence, found.seconds), (0, 0, 0.0, 0))


class CommandLine(unittest.TestCase):
    def test_report_prints_one_figure_a_line(self):
        code, out, err = run("report", str(HARBOUR))
        self.assertEqual((code, err), (0, ""))
        self.assertRegex(out, r"(?m)^sentences +9$")
        self.assertRegex(out, r"(?m)^frequent words +harbour \(3\), boats \(3\)")

    def test_json_has_the_same_figures(self):
        code, out, _ = run("report", "--json", str(HARBOUR))
        self.assertEqual(code, 0)
        found = report(HARBOUR.read_text(encoding="utf-8"))
        self.assertEqual(json.loads(out)["words"], found.words)
        self.assertEqual(json.loads(out)["reading_ease"], found.reading_ease)

    def test_missing_file_is_a_plain_error(self):
        code, out, err = run("report", "no-such-file.txt")
        self.assertEqual((code, out), (1, ""))
        self.assertIn("no-such-file.txt", err)
