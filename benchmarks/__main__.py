"""Run every benchmark of speed; `python -m benchmarks.strength` and `.substitutes` measure attacks, for longer."""

from benchmarks import decision_speed, gradient_speed, noise_speed, query_speed

noise_speed.main()
gradient_speed.main()
query_speed.main()
decision_speed.main()
