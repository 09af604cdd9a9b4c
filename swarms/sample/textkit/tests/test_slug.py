import unittest

from textkit import slugify


class Slugify(unittest.TestCase):
    def test_accents_are_dropped(self):
        self.assertEqual(slugify("Crème brûlée"), "creme-brulee")

    def test_other_signs_become_one_hyphen(self):
        self.assertEqual(slugify("  salt & pepper -- twice! "), "salt-pepper-twice")

    def test_nothing_left_is_empty(self):
        self.assertEqual(slugify("…"), "")
