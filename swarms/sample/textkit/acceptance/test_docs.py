"""What the documentation shows must be what the program prints."""

import contextlib
import io
import os
import re
import shlex
import unittest
from pathlib import Path

from textkit.cli import main

ROOT = Path(__file__).parents[1]
EXAMPLE = re.compile(r"^```\n\$ python3 -m textkit (.+)\n((?:.*\n)*?)```$", re.MULTILINE)


def printed(line):
    out, before = io.StringIO(), Path.cwd()
    os.chdir(ROOT)
    try:
        with contextlib.redirect_stdout(out):
            main(shlex.split(line))
    finally:
        os.chdir(before)
    return out.getvalue()


class Documentation(unittest.TestCase):
    def test_examples_are_true(self):
        page = (ROOT / "docs" / "reading.md").read_text(encoding="utf-8")
        examples = EXAMPLE.findall(page)
        self.assertTrue(any(line.startswith("report ") for line, _ in examples), "no example of `report`")
        for line, output in examples:
            self.assertEqual(printed(line), output)

    def test_the_page_explains_the_figures(self):
        page = (ROOT / "docs" / "reading.md").read_text(encoding="utf-8").lower()
        for word in ("sentence", "syllable", "reading ease", "230 words"):
            self.assertIn(word, page)

    def test_the_readme_leads_there(self):
        readme = (ROOT / "README.md").read_text(encoding="utf-8")
        self.assertIn("docs/reading.md", readme)
        self.assertRegex(readme, r"(?m)^\| `report FILE` \|")
