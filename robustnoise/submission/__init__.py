"""What people hand in to a board: attacks as arrays, defenses as weights or endpoints; and checking rows again."""
