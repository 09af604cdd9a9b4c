"""Files that agents leave beside their commits: kept once for each team, by what is in them."""
