import unittest

import textkit
from textkit.words import frequent, words


class Words(unittest.TestCase):
    def test_signs_and_spaces_do_not_count(self):
        self.assertEqual(words("Salt, pepper -- and  (perhaps) oil!"), ["Salt", "pepper", "and", "perhaps", "oil"])

    def test_apostrophes_and_hyphens_stay_inside_a_word(self):
        self.assertEqual(words("It isn't well-known; it’s old."), ["It", "isn't", "well-known", "it’s", "old"])

    def test_numbers_are_words(self):
        self.assertEqual(words("42 boats at 4.30"), ["42", "boats", "at", "4.30"])

    def test_nothing_gives_nothing(self):
        self.assertEqual(words(" … "), [])

    def test_frequent_counts_without_capitals_and_small_words(self):
        text = "The boat and the Boat and the boats. Oars, oars. The harbour."
        self.assertEqual(frequent(text, 2), [("boat", 2), ("oars", 2)])

    def test_the_package_exports_it(self):
        self.assertIs(textkit.words_in, words)
        self.assertIn("words_in", textkit.__all__)
