"""Run every benchmark of speed; `python -m benchmarks.strength`, `.substitutes` and `.trainings` take longer."""

import argparse

from benchmarks import gradient_speed, noise_speed, query_speed

argparse.ArgumentParser(description=f"{__doc__} Options are those of each alone.").parse_args()
noise_speed.main()
gradient_speed.main()
query_speed.main()
