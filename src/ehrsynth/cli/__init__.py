import os

# With a busy neighbour, spinning OpenMP threads slow a training step several times. Must be set before torch loads.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
