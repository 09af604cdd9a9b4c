import unittest

from textkit.syllables import syllables


class Syllables(unittest.TestCase):
    def check(self, expected):
        self.assertEqual({word: syllables(word) for word in expected}, expected)

    def test_groups_of_vowels(self):
        self.check({"cat": 1, "harbour": 2, "banana": 3, "quiet": 2, "rhythm": 1})

    def test_a_silent_e_at_the_end_does_not_count(self):
        self.check({"make": 1, "there": 1, "stove": 1, "counted": 2})

    def test_le_after_a_consonant_counts(self):
        self.check({"table": 2, "simple": 2, "kettle": 2, "whole": 1})

    def test_ed_is_silent_unless_t_or_d_comes_before(self):
        self.check({"walked": 1, "burned": 1, "needed": 2, "waited": 2})

    def test_every_word_has_at_least_one(self):
        self.check({"the": 1, "Mr": 1, "42": 1, "e": 1})
