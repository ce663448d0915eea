"""What cells cost: counted before, measured as they are made, estimated from both."""
