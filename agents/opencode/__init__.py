"""What a developer's own OpenCode has kept: read in its three layouts, never written."""
