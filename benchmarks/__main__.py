"""Run every benchmark."""

from benchmarks import noise_speed, query_speed

noise_speed.main()
query_speed.main()
