"""Run every benchmark of speed; `python -m benchmarks.strength` and `.substitutes` measure attacks, for longer."""

<<<<<<< HEAD
from benchmarks import gradient_speed, noise_speed, query_speed
=======
from benchmarks import decision_speed, noise_speed, query_speed
>>>>>>> labels

noise_speed.main()
gradient_speed.main()
query_speed.main()
decision_speed.main()
