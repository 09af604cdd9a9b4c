import unittest

from textkit import convert


class Convert(unittest.TestCase):
    def test_camel_to_snake(self):
        self.assertEqual(convert("readingTimeInMinutes", "snake"), "reading_time_in_minutes")

    def test_acronyms_stay_one_word(self):
        self.assertEqual(convert("parseHTTPHeader", "kebab"), "parse-http-header")

    def test_snake_to_camel(self):
        self.assertEqual(convert("words_per_sentence", "camel"), "wordsPerSentence")

    def test_digits_are_words(self):
        self.assertEqual(convert("chapter12", "title"), "Chapter 12")

    def test_unknown_style_is_named(self):
        with self.assertRaisesRegex(ValueError, "'shout'.*snake, kebab"):
            convert("x", "shout")
