"""Where the cells of a board are made: in this process, in several, or on a cluster."""
