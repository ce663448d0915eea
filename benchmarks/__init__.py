"""Side-by-side timings, which `make bench` runs, and other measurements; nothing here is packaged."""
