"""Figures of Waggle, each with its floor from the same run: `make bench`."""
