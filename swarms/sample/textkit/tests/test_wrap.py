import unittest

from textkit import wrap


class Wrap(unittest.TestCase):
    def test_lines_are_not_longer_than_the_width(self):
        lines = wrap("one two three four five six seven", 12).splitlines()
        self.assertEqual(lines, ["one two", "three four", "five six", "seven"])

    def test_paragraphs_stay_apart(self):
        self.assertEqual(wrap("one\ntwo\n\n\nthree"), "one two\n\nthree")

    def test_long_words_stay_whole(self):
        self.assertIn("incomprehensibilities", wrap("an incomprehensibilities test", 8).splitlines())
