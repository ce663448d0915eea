"""The one-way flow: defend, substitute, craft, score, compare; each step found again in the store by its inputs."""
