"""What Hydra is given by this project: its sweeper and the launcher of Ray."""
