"""Run every benchmark."""

from benchmarks import noise_speed

noise_speed.main()
