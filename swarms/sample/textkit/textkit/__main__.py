"""Run the command line: python3 -m textkit."""

from textkit.cli import main

raise SystemExit(main())
