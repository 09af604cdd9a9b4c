"""What must hold of a team's rows at any moment, whoever was killed."""
