"""Side-by-side timings; `make bench` runs them all. Nothing here is packaged."""
