"""Devices, the runner, measurement, statistics and `tkd-bench`; needs no machine-learning framework."""
