"""Run every benchmark."""

from benchmarks import decision_speed, noise_speed, query_speed

noise_speed.main()
query_speed.main()
decision_speed.main()
