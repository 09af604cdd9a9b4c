import unittest

import textkit
from textkit.sentences import sentences


class Sentences(unittest.TestCase):
    def test_stops_end_a_sentence(self):
        self.assertEqual(sentences("One. Two! Three? Four"), ["One.", "Two!", "Three?", "Four"])

    def test_abbreviations_do_not(self):
        self.assertEqual(sentences("Mr. Lund waits, e.g. here. Then he goes."), ["Mr. Lund waits, e.g. here.", "Then he goes."])

    def test_decimals_do_not(self):
        self.assertEqual(sentences("It is 4.30 now. Good."), ["It is 4.30 now.", "Good."])

    def test_an_empty_line_does(self):
        self.assertEqual(sentences("A title\n\nThe text\ngoes on."), ["A title", "The text goes on."])

    def test_quotation_marks_stay_with_their_sentence(self):
        self.assertEqual(sentences('He said "no." She left.'), ['He said "no."', "She left."])

    def test_nothing_gives_nothing(self):
        self.assertEqual(sentences("\n\n"), [])

    def test_the_package_exports_it(self):
        self.assertIs(textkit.sentences_in, sentences)
        self.assertIn("sentences_in", textkit.__all__)
