"""A swarm as it was at any of its events: seen again, taken elsewhere as a file, and begun anew from there."""
