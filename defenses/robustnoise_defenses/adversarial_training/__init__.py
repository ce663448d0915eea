"""Training on adversarial examples."""
