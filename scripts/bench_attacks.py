"""Attribute inference and membership on 50,000 training x 50,000 synthetic x 460 columns: seconds and peak memory."""
