"""Students, teacher, temporal knowledge distillation, data, training and the `tkd-*` commands."""

__version__ = "0.1.0"
